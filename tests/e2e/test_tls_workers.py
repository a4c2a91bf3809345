"""TLS over several workers: a session begun at one is resumed at any, also after workers and certificate changed."""

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

from tests.stage.program import Program
from tests.stage.tls import Reply, ask, client

CONNECTIONS = 12  # the chance that all of them meet the same of two workers is one in two thousand


async def ask_often(port: int, context: ssl.SSLContext, session: Any) -> list[Reply]:
    return [await ask(port, context, session=session) for _ in range(CONNECTIONS)]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_resumed_at_any_worker(
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
    running.wait_for(r"worker 1 ended")
    running.wait_until(lambda: len(running.children()) == 3, "children again")
    assert is_resumed_everywhere()

    for old, new in ((issued.cert, renewed.cert), (issued.key, renewed.key)):
        shutil.copy(new, f"{old}.new")
        os.replace(f"{old}.new", old)
    running.wait_for(r"tls: .* loaded anew")

    def is_renewed_everywhere() -> bool:
        return all(reply.names == ("renewed.example",) for reply in asyncio.run(ask_often(port, context, None)))

    running.wait_until(is_renewed_everywhere, "the new certificate at all workers")
    assert is_resumed_everywhere()


def test_openssl_resumes(
    program: Callable[..., Program], public: Path, free_port: Callable[[], int], certificates: Callable[..., Any]
) -> None:
    """`openssl s_client -reconnect`: another client's view, five times over."""
    port = free_port()
    program(config={"listen": [f"https://127.0.0.1:{port}"], "tls": certificates().config, "workers": 2})
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-reconnect", "-tls1_2"]
    said = subprocess.run(command, input=b"", capture_output=True, timeout=20).stdout.decode(errors="replace")
    assert (said.count("New, TLSv1.2"), said.count("Reused, TLSv1.2")) == (1, 5)
