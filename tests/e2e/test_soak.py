"""The short form of `make soak`: all kinds of load while everything goes wrong once or twice, and nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from soak.measures import slope
from tests.stage.program import ROOT


@pytest.mark.timeout(120)
def test_nothing_is_lost() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "soak", "--seconds", "25", "--clients", "4"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": "src"}, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lost otherwise: 0" in done.stdout


def test_what_is_measured() -> None:
    assert slope([10.0, 11.0, 12.0], [5.0, 7.0, 9.0]) == 2.0
