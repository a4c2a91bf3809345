"""Fixtures for all tests.

program         the real npserver as a child process, see `tests/stage/program.py`
backends        servers for it to talk to, on free ports, see `tests/stage/backends.py`
free_port       a function: a port that is free for TCP and UDP
certificates    a function: names to a `Certificate` of the session's own CA
socket_dir      a directory whose path is short enough for Unix sockets
public          a directory with a few files to serve
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import importlib
import itertools
import logging
import os
import shutil
import signal
import ssl
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from npserver.observe.config import AREAS
from tests.stage import ports

# Of some containers and CI systems. The program is tested as users start it, and so often that none should compile it.
for _name in ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"):
    os.environ.pop(_name, None)
sys.dont_write_bytecode = False
# A script's job in the background ignores SIGINT, and so would the programs that the tests interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

if TYPE_CHECKING:  # heavy to import: a unit test alone starts without them
    import trustme

    from tests.stage.backends import Backends
    from tests.stage.program import Program
_STORES: pytest.StashKey[Path] = pytest.StashKey()
_NUMBERS = itertools.count()
#: Files whose coroutine tests run on the event loop that users get too.
ON_BOTH_LOOPS = (
    "test_forward_",
    "test_resolver",
    "test_dialer",
    "test_dns_resolver_",
    "test_health",
    "test_proxy_buffering",
    "test_spool",
    "test_fastcgi",
    "test_http2_upstream",
    "test_http3",
    "test_doq.py",
    "test_doq_hostile",
    "test_dns_notify",
    "test_dns_peers",
)


_BEYOND_INSTALLING = ("was built without", "needs root that may mount", "below directories that every user may enter")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skipped test into a failed one where CI is set: there `.ci/run` has installed every program.

    What the system's program was built without cannot be installed: curl 8.22 of Debian 14 has no NTLM. Nor can leave
    to mount file systems, or a checkout in a place that every user may enter.
    """
    report = yield
    if report.skipped and os.environ.get("CI") and not any(one in str(report.longrepr) for one in _BEYOND_INSTALLING):
        report.outcome = "failed"
        report.longrepr = f"skipped, but nothing may be here: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the cycle collector from the objects of all tests, of which nothing is garbage.

    While tests are found it would go through them again and again: a third of that time. Later every collection of a
    test that looks for leaks would take a quarter of a second.
    """
    gc.disable()
    found = yield
    gc.freeze()
    gc.enable()
    return found


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Spare runs without property tests half a second: Hypothesis's plugin imports Hypothesis for its summary."""
    if "hypothesis" not in sys.modules and session.config.pluginmanager.has_plugin("hypothesispytest"):
        session.config.pluginmanager.unregister(name="hypothesispytest")


def pytest_collection_finish() -> None:
    """Let httpx read the certificates that it trusts once: each client would, in 20 ms, although it asks http://."""
    if "httpx" not in sys.modules:
        return
    transports = importlib.import_module("httpx._transports.default")
    make = transports.create_ssl_context
    trusting = functools.cache(make)

    def create_ssl_context(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
        is_usual = verify is True and cert is None
        made: ssl.SSLContext = trusting() if is_usual else make(verify=verify, cert=cert, trust_env=trust_env)
        return made

    transports.create_ssl_context = create_ssl_context


def pytest_configure(config: pytest.Config) -> None:
    """Give the session a directory for the stores of configs that name none."""
    config.stash[_STORES] = Path(tempfile.mkdtemp(prefix="npserver-stores-"))
    config.stash[_STORES].chmod(0o755)  # for programs that become another user
    os.environ["STATE_DIRECTORY"] = str(config.stash[_STORES] / "session")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the stores."""
    shutil.rmtree(config.stash[_STORES], ignore_errors=True)


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run coroutine tests on asyncio's event loop, and those of `ON_BOTH_LOOPS` on the one that users get too.

    Other tests of sockets choose their loops themselves, or run the whole program.
    """
    factories = {"asyncio": asyncio.new_event_loop}
    if not item.path.name.startswith(ON_BOTH_LOOPS):
        return factories
    with contextlib.suppress(ImportError):
        factories["uvloop"] = importlib.import_module("uvloop").new_event_loop
    return factories


@pytest.fixture(autouse=True)
def own_store(request: pytest.FixtureRequest) -> None:
    """Give each test a store of its own, where its config names none: not that of this machine, nor of another test.

    Another may leave it to another user. The directory is made by who uses it.
    """
    os.environ["STATE_DIRECTORY"] = str(request.config.stash[_STORES] / str(next(_NUMBERS)))


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Undo `observe.logs.configure`, so that pytest sees the log lines of the next test."""
    root = logging.getLogger("npserver")
    loggers = [root, *(logging.getLogger(f"npserver.{area}") for area in AREAS)]
    levels = [logger.level for logger in loggers]
    handlers, propagate, raising = root.handlers, root.propagate, logging.raiseExceptions
    yield
    root.handlers, root.propagate, logging.raiseExceptions = handlers, propagate, raising
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Return `free_port()`, which returns a port of 127.0.0.1 that is free for TCP and UDP."""
    return ports.free_port


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Yield `program(*arguments, config=None, cwd=tmp_path, env={}, listens=None, wait=True)`.

    It starts npserver with these arguments and waits until it listens. `config`, a dict or text, is written to
    `npserver.json` and passed with `-config`. `listens` names the URIs to wait for when they are neither on the command
    line nor in a dict. `wait=False` returns it at once: for starts that are to fail. At the end of the test every
    program still running is stopped by SIGTERM, and has to end with status 0, without a traceback or a process left.
    """
    from tests.stage.program import Program

    started: list[Program] = []

    def start(
        *arguments: str,
        config: Mapping[str, Any] | str | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        listens: list[str] | None = None,
        wait: bool = True,
    ) -> Program:
        one = Program(list(arguments), cwd or tmp_path, config, env or {}, listens)
        if wait and one.has_found_its_port_in_use():  # by a resolver beside it, whose questions leave from random ports
            one = Program(list(arguments), cwd or tmp_path, config, env or {}, listens)
        started.append(one)
        if wait:
            one.wait_ready()
        return one

    try:
        yield start
        for one in started:
            if one.process.poll() is None:
                one.stop()
    finally:
        for one in started:
            one.kill()


@pytest.fixture
def backends() -> Iterator[Backends]:
    """Yield a `Backends`: `.tcp_echo() .udp_echo() .http(name) .websocket_echo() ...`, each returns its port."""
    from tests.stage.backends import Backends

    with Backends() as servers:
        yield servers


@pytest.fixture
def socket_dir() -> Iterator[Path]:
    """Yield a directory with a short path: paths of Unix sockets have at most some 100 characters."""
    directory = tempfile.mkdtemp(prefix="np")
    yield Path(directory)
    shutil.rmtree(directory)


@pytest.fixture
def public(tmp_path: Path) -> Path:
    """Return a directory to serve: index.html, app.css, sub/page.html, bytes.bin (100,000 bytes)."""
    directory = tmp_path / "public"
    (directory / "sub").mkdir(parents=True)
    (directory / "index.html").write_text("<!doctype html><title>home</title>home\n")
    (directory / "app.css").write_text("body { color: black }\n" * 100)
    (directory / "sub" / "page.html").write_text("<!doctype html><title>page</title>page\n")
    (directory / "bytes.bin").write_bytes(bytes(range(250)) * 400)
    return directory


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate in files, and the CA that signed it."""

    cert: Path  # the certificate and its chain
    key: Path
    ca: Path

    @property
    def config(self) -> dict[str, str]:
        """The value of the config's `tls`."""
        return {"cert": str(self.cert), "key": str(self.key)}

    def client(self) -> ssl.SSLContext:
        """Return a client context that trusts the CA and nothing else."""
        return ssl.create_default_context(cafile=str(self.ca))


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Return the CA of this test session."""
    import trustme

    return trustme.CA()


@pytest.fixture
def certificates(authority: trustme.CA, tmp_path: Path) -> Callable[..., Certificate]:
    """Return `certificates(*names)`, which issues for host names and addresses, by default localhost and loopback."""
    count = 0

    def issue(*names: str, **more: Any) -> Certificate:
        nonlocal count
        count += 1
        issued = authority.issue_cert(*(names or ("localhost", "127.0.0.1", "::1")), **more)
        certificate = Certificate(*(tmp_path / f"tls{count}.{part}" for part in ("crt", "key", "ca")))
        certificate.cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(certificate.key))
        authority.cert_pem.write_to_path(str(certificate.ca))
        return certificate

    return issue
