"""Revocation lists that change while the program runs, with two workers and OpenSSL's own client."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.stage.authority import ClientAuthority
from tests.stage.backends import Backends
from tests.stage.program import Program
from tests.stage.programs import needs

pytestmark = needs("openssl")

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
TRUSTING_NOBODY = (
    "-no-CAfile",
    "-no-CApath",
    "-no-CAstore",
)  # it verifies nothing, and reads no store
CONNECTIONS = 12  # the chance that all of them meet the same of two workers is one in two thousand


def connect(port: int, client: Path, version: str, *more: str) -> str:
    """Send one request with `openssl s_client`; return what it says."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-cert", str(client), "-key", str(client)]
    request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    done = subprocess.run(
        [*command, version, *TRUSTING_NOBODY, "-ign_eof", *more],
        input=request,
        capture_output=True,
        timeout=20,
        check=False,
    )
    return (done.stdout + done.stderr).decode(errors="replace")


@pytest.mark.parametrize(
    ("scheme", "version", "user"),
    [
        ("https", "-tls1_2", None),
        ("https", "-tls1_3", None),
        ("ssl", "-tls1_2", None),
        ("ssl", "-tls1_3", None),
        pytest.param("https", "-tls1_3", "nobody", marks=AS_ROOT),
    ],
)
def test_a_revoked_client_is_refused_by_all_workers(
    program: Callable[..., Program], free_port: Callable[[], int], certificates: Callable[..., Any],
    backends: Backends, tmp_path: Path, scheme: str, version: str, user: str | None,
) -> None:  # fmt: skip
    """In a full handshake and with its session; without a reload, and at workers that are started later."""
    port, staff, issued, session = free_port(), ClientAuthority(tmp_path), certificates(), tmp_path / "session"
    joe, ann = staff.issue("joe"), staff.issue("ann")
    listener = f"{scheme}://127.0.0.1:{port}"
    rule = {"handler": "forward", "listener": listener, "forward_to": f"tcp://127.0.0.1:{backends.http('up')}"}
    running = program(
        config={
            "listen": [listener],
            "tls": {**issued.config, "client_ca": str(staff.ca), "client_crl": [str(staff.revoke())]},
            "workers": 2,
            **({"user": user} if user else {}),  # whose processes cannot read the list
            "dispatch": [rule if scheme == "ssl" else {"handler": "respond", "body": "served"}],
        }
    )
    assert "HTTP/1.1 200" in connect(port, joe, version, "-sess_out", str(session))
    said = [connect(port, joe, version, "-sess_in", str(session)) for _ in range(CONNECTIONS)]
    assert all("HTTP/1.1 200" in one and "Reused, TLS" in one for one in said)

    staff.revoke("joe")
    running.wait_for(rf"tls: {re.escape(str(staff.crl))} changed and was loaded, valid until")

    def is_refused_everywhere() -> bool:
        return not any("HTTP/1.1 200" in connect(port, joe, version) for _ in range(CONNECTIONS))

    running.wait_until(is_refused_everywhere, "the new list at all workers")
    for more in ([], ["-sess_in", str(session)]):
        said = [connect(port, joe, version, *more) for _ in range(CONNECTIONS)]
        assert not [one for one in said if "HTTP/1.1 200" in one or "Reused, TLS" in one]
        assert all("alert certificate revoked" in one for one in said)
    assert "HTTP/1.1 200" in connect(port, ann, version)
