"""A `user` that cannot read the program's directory, such as a clone in /root: all that is needed later works.

Covers `process.preload`.
"""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import pytest

from tests.stage.backends import Backends
from tests.stage.passwords import quick_hash
from tests.stage.program import ROOT, Program
from tests.stage.programs import needs_localhost

Start = Callable[..., Program]
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
CODINGS = ("br", "zstd", "gzip")

#: Reports each module that is not loaded yet when a process of another user imports it, and each file of packages that
#: such a process opens.
WATCH_IMPORTS = """
import os, sys

def watch(event, arguments):
    is_file = event == "open" and "site-packages" in str(arguments[0])
    if (event == "import" or is_file) and os.geteuid():
        os.write(2, b"read without privileges: %s\\n" % str(arguments[0]).encode())

sys.addaudithook(watch)
"""


@pytest.fixture
def private_copy(tmp_path: Path) -> Path:
    """A copy of the program that only root may read; watches imports of other users."""
    copy = tmp_path / "private"
    shutil.copytree(ROOT / "src", copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "sitecustomize.py").write_text(WATCH_IMPORTS)
    copy.chmod(0o700)
    return copy


def ask(port: int, path: str, **fields: str) -> tuple[int, str | None, bytes]:
    """Return status, coding and body of a response."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in fields.items()})
        response = connection.getresponse()
        return response.status, response.headers["Content-Encoding"], response.read()
    finally:
        connection.close()


@AS_ROOT
@needs_localhost
@pytest.mark.parametrize("workers", [0, 2])
def test_the_user_needs_nothing_of_the_programs_directory(
    socket_dir: Path,
    program: Start,
    free_port: Callable[[], int],
    backends: Backends,
    certificates: Callable[..., Any],
    private_copy: Path,
    workers: int,
) -> None:
    """The first config and one that a reload brings, which needs modules that the first did not."""
    certificate = certificates()
    files = {part: shutil.copy(getattr(certificate, part), socket_dir) for part in ("cert", "key", "ca")}
    for file in files.values():
        Path(file).chmod(0o644)  # a single process reads them again as the user
    for size, name in ((4_000, "small.css"), (400_000, "large.css")):
        (socket_dir / name).write_text("body { color: black }\n" * (size // 22))
    socket_dir.chmod(0o755)
    plain, secure, udp, names, tcp = (free_port() for _ in range(5))
    echo, app = backends.udp_echo(), backends.http()
    config: dict[str, Any] = {
        "user": "nobody",
        "workers": workers,
        "tls": {"cert": files["cert"], "key": files["key"]},
        "listen": [f"http://127.0.0.1:{plain}", f"https://127.0.0.1:{secure}", f"udp://127.0.0.1:{udp}"],
        "upstreams": {"inner": {"targets": [f"https://localhost:{secure}"], "tls": {"ca": files["ca"]}}},
        "dispatch": [
            {"listener": f"https://127.0.0.1:{secure}", "handler": "respond", "body": "over TLS"},
            {"listener": f"http://127.0.0.1:{plain}", "path": "/tls/**", "handler": "proxy", "proxy_pass": "upstream://inner"},
            {"listener": f"http://127.0.0.1:{plain}", "path": "/**", "handler": "static", "root": str(socket_dir)},
            {"listener": f"udp://127.0.0.1:{udp}", "handler": "forward", "forward_to": f"udp://127.0.0.1:{echo}"},
        ],
    }  # fmt: skip
    one = program(config=config, cwd=socket_dir, env={"PYTHONPATH": str(private_copy)}, wait=False)
    one.wait_for(r"npserver \d")
    assert ask(plain, "/tls/x") == (200, None, b"over TLS")
    for coding in CODINGS:
        for name in ("/small.css", "/large.css"):
            status, used, _ = ask(plain, name, Accept_Encoding=coding)
            assert (status, used) == (200, coding), name
    assert ask(plain, "/missing")[0] == 404
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(30)
        client.sendto(b"hello", ("127.0.0.1", udp))
        assert client.recv(100) == b"hello"

    more = [f"udp://127.0.0.1:{names}", f"tcp://127.0.0.1:{tcp}"]
    config["listen"] += more
    config["dns"] = {"www.example.org": {"A": ["192.0.2.1"]}}
    guarded = {
        "path": "/guarded",
        "basic_auth": {"users": {"ann": quick_hash("secret")}},
        "handler": "redirect",
        "to": "/",
    }
    config["dispatch"][1:1] = [{"listener": f"http://127.0.0.1:{plain}", **guarded}]
    config["dispatch"] += [
        {"listener": more[0], "handler": "dns"},
        {"listener": more[1], "handler": "forward", "forward_to": f"tcp://127.0.0.1:{app}"},
    ]
    one.configure(config)
    one.send_signal(signal.SIGHUP)
    one.wait_until(lambda: "config reloaded" in one.errors, "the reload")
    assert ask(plain, "/guarded")[0] == 401
    assert ask(plain, "/guarded", Authorization="Basic YW5uOnNlY3JldA==")[0] == 308
    reply = dns.query.udp(dns.message.make_query("www.example.org", "A"), "127.0.0.1", 10, names)
    assert "192.0.2.1" in str(reply)
    assert ask(tcp, "/")[0] == 200
    one.stop()
    assert "read without privileges" not in one.errors
    assert "Error" not in one.errors
