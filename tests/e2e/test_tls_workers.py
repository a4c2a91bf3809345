"""TLS over several workers: a session begun at one is resumed at any, also after workers and certificate changed.

Covers `tls.store`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.stage.asking import worker_pids
from tests.stage.program import Program
from tests.stage.programs import needs
from tests.stage.tls import Reply, ask, client

CONNECTIONS = 12  # the chance that all of them meet the same of two workers is one in two thousand


async def ask_often(port: int, context: ssl.SSLContext, session: Any, name: str = "localhost") -> list[Reply]:
    return [await ask(port, context, name, session=session) for _ in range(CONNECTIONS)]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_is_resumed_at_any_worker(
    program: Callable[..., Program], public: Path, free_port: Callable[[], int], certificates: Callable[..., Any],
    version: ssl.TLSVersion,
) -> None:  # fmt: skip
    port, issued, renewed = free_port(), certificates(), certificates("renewed.example")
    context = client(issued.ca, minimum_version=version, maximum_version=version)
    running = program(config={"listen": [f"https://127.0.0.1:{port}"], "tls": issued.config, "workers": 2})
    first = asyncio.run(ask(port, context))
    assert (first.status, first.is_resumed) == (200, False)

    def is_resumed_everywhere() -> bool:
        return all(reply.is_resumed for reply in asyncio.run(ask_often(port, context, first.tls.session)))

    assert is_resumed_everywhere()

    for child in running.children():
        os.kill(child, signal.SIGKILL)
    running.wait_for(r"worker 1 exited")
    running.wait_until(lambda: len(running.children()) == 3, "children again")
    assert is_resumed_everywhere()

    for old, new in ((issued.cert, renewed.cert), (issued.key, renewed.key)):
        shutil.copy(new, f"{old}.new")
        os.replace(f"{old}.new", old)

    def is_renewed_everywhere() -> bool:  # no log line tells: the next controller may have begun with the new one
        return all(reply.names == ("renewed.example",) for reply in asyncio.run(ask_often(port, context, None)))

    running.wait_until(is_renewed_everywhere, "the new certificate at all workers")
    assert is_resumed_everywhere()


def test_a_certificate_that_is_renewed_while_the_controller_dies_is_used(
    program: Callable[..., Program], public: Path, free_port: Callable[[], int], certificates: Callable[..., Any]
) -> None:
    """The next controller begins with the new one: it sees no change, and the workers would keep the old one."""
    port, issued, renewed = free_port(), certificates(), certificates("renewed.example")
    context = client(issued.ca)
    running = program(config={"listen": [f"https://127.0.0.1:{port}"], "tls": issued.config, "workers": 2})
    running.wait_for("npserver 1")
    controller = max(running.children())  # it was forked last
    os.kill(controller, signal.SIGSTOP)
    for old, new in ((issued.cert, renewed.cert), (issued.key, renewed.key)):
        shutil.copy(new, f"{old}.new")
        os.replace(f"{old}.new", old)
    os.kill(controller, signal.SIGKILL)

    def is_renewed_everywhere() -> bool:
        return all(reply.names == ("renewed.example",) for reply in asyncio.run(ask_often(port, context, None)))

    running.wait_until(is_renewed_everywhere, "the new certificate at all workers")


@needs("openssl")
def test_openssl_resumes(
    program: Callable[..., Program], public: Path, free_port: Callable[[], int], certificates: Callable[..., Any]
) -> None:
    """`openssl s_client -reconnect`: another client's view, five times over."""
    port = free_port()
    program(config={"listen": [f"https://127.0.0.1:{port}"], "tls": certificates().config, "workers": 2})
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-reconnect", "-tls1_2"]
    said = subprocess.run(command, input=b"", capture_output=True, timeout=20).stdout.decode(errors="replace")
    assert (said.count("New, TLSv1.2"), said.count("Reused, TLSv1.2")) == (1, 5)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_certificates_of_a_reload_are_resumed_at_any_worker(
    program: Callable[..., Program], public: Path, free_port: Callable[[], int], certificates: Callable[..., Any],
    version: ssl.TLSVersion,
) -> None:  # fmt: skip
    """Also at one that was replaced since; never a session of one certificate at another."""
    names = ("first.example", "added.example", "other.example")
    issued = [certificates(name) for name in names]
    port, context = free_port(), client(issued[0].ca, minimum_version=version, maximum_version=version)
    config = {"listen": [f"https://127.0.0.1:{port}"], "tls": [issued[0].config], "workers": 2}
    running = program(config=config)
    running.wait_for("npserver 1")

    def ask_as(name: str, session: Any = None) -> list[Reply]:
        async def often() -> list[Reply]:
            return [await ask(port, context, session=session, name=name) for _ in range(CONNECTIONS)]

        return asyncio.run(often())

    def reload(*entries: dict[str, str], outcome: str) -> None:
        running.configure({**config, "tls": list(entries)})
        running.send_signal(signal.SIGHUP)
        running.wait_for(outcome)

    missing = {"cert": f"{issued[1].cert}.none", "key": str(issued[1].key)}
    reload(issued[0].config, missing, outcome="keeping the current configuration")
    reload(*(one.config for one in issued), outcome="config reloaded")
    sessions = {}
    for name in names:
        running.wait_until(
            lambda name=name: all(reply.names == (name,) for reply in ask_as(name)), f"{name} everywhere"
        )
        sessions[name] = ask_as(name)[0].tls.session
    victim = worker_pids(running)[0]
    for is_replaced in (False, True):
        if is_replaced:
            os.kill(victim, signal.SIGKILL)
            running.wait_until(
                lambda: victim not in running.children() and len(running.children()) == 3, "another worker"
            )
        for name in names:
            for owner, session in sessions.items():
                assert {reply.is_resumed for reply in ask_as(name, session)} == {name == owner}, (name, owner)


@pytest.mark.parametrize("key", ["RSA", "ECDSA"])
def test_a_second_type_of_key_that_a_reload_adds_is_used_by_all_workers(
    program: Callable[..., Program], public: Path, free_port: Callable[[], int], certificates: Callable[..., Any],
    key: str,
) -> None:  # fmt: skip
    port = free_port()
    rsa, ecdsa = certificates("a.example", key_type=trustme.KeyType.RSA), certificates("a.example")
    context = client(rsa.ca, maximum_version=ssl.TLSVersion.TLSv1_2)
    context.set_ciphers(f"ECDHE-{key}-AES128-GCM-SHA256")
    config = {"listen": [f"https://127.0.0.1:{port}"], "tls": [rsa.config], "workers": 2}
    running = program(config=config)
    running.configure({**config, "tls": [rsa.config, ecdsa.config]})
    running.send_signal(signal.SIGHUP)
    running.wait_for("config reloaded")
    first = asyncio.run(ask(port, context, "a.example"))
    replies = asyncio.run(ask_often(port, context, first.tls.session, "a.example"))
    assert [reply.is_resumed for reply in replies] == [True] * CONNECTIONS
