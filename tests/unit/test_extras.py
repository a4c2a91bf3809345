"""What is said where an optional package is missing."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from npserver.extras import needs

ROOT = Path(__file__).parents[2]


def test_the_command_is_for_the_python_that_runs() -> None:
    assert needs("qh3>=2") == f"needs the package qh3: {shlex.quote(sys.executable)} -m pip install 'qh3>=2'"


def test_where_no_package_can_be_added_no_command_is_told() -> None:
    """The one file and the Debian package start Python so: what pip installs is not found."""
    command = [sys.executable, "-P", "-s", "-S", "-c", "from npserver.extras import needs; print(needs('qh3>=2'))"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=30).stdout
    assert said == "needs the package qh3, which cannot be added to this npserver: take one that is installed by pip\n"
