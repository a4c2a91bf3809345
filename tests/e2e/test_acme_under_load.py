"""A certificate is renewed while clients come all the time: no handshake fails, at neither worker.

`NPSERVER_HANDSHAKES=10000` makes the long form of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from tests.stage.acme_program import ISSUED, certificate_at, config, wait_trusted
from tests.stage.clock import Clock
from tests.stage.handshakes import Handshakes
from tests.stage.pebble import running_pebble
from tests.stage.program import Program
from tests.stage.programs import needs

HANDSHAKES = int(os.environ.get("NPSERVER_HANDSHAKES", "1000"))
NAME = "web.example.test"


@needs("pebble")
@pytest.mark.timeout(120)
def test_no_handshake_fails_while_a_certificate_is_renewed(
    program: Callable[..., Program], authority: trustme.CA, tmp_path: Path
) -> None:
    """Three certificates in a row; half of the clients resume their sessions, across the renewals too."""
    clock, root = Clock(tmp_path), tmp_path / "root.pem"
    with running_pebble(tmp_path / "pebble", authority, life_s=6 * 86400) as pebble:
        one = program(
            config={**config(pebble, tmp_path, NAME), "logging": {"access_log": "off"}}, env=clock.environment
        )
        one.wait_for(ISSUED.format(NAME), 30)
        wait_trusted(one, pebble, NAME)
        root.write_text(pebble.root())
        clients = [
            Handshakes(pebble.tls_port, NAME, root, HANDSHAKES // 2, resumes=resumes) for resumes in (True, False)
        ]
        for offset in ("+97h", "+98h"):
            before = certificate_at(pebble.tls_port, NAME)
            clock.set(offset)
            one.wait_until(
                lambda before=before: all(certificate_at(pebble.tls_port, NAME) != before for _ in range(12)),
                "a renewed certificate everywhere", 40,
            )  # fmt: skip
        results = [client.finish(90) for client in clients]
        one.stop()
    assert [one.failures for one in results] == [[], []]
    assert sum(one.done for one in results) >= HANDSHAKES
    assert results[1].resumed == 0
    assert results[0].resumed > results[0].done // 2
    assert len({*results[0].certificates, *results[1].certificates}) >= 3
