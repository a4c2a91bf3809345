"""The machine that figures depend on: processor, kernel, and the versions of all programs that run."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUN = ROOT / "bench" / "run"  # everything that a run writes and nobody keeps

#: What npserver runs with: where there is one of our version the system's own Python, as the peers are the system's.
PYTHON = next(
    (path for path in (f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}",) if os.access(path, os.X_OK)),
    sys.executable,
)

#: Where the server runs, and where everything else does.
SERVER_CORE = 0
LOAD_CORE = min(1, (os.cpu_count() or 1) - 1)


def pinned(core: int | str, command: list[str]) -> list[str]:
    """Return the command that runs `command` on one core, or on a list of them."""
    return ["taskset", "-c", str(core), *command]


def describe() -> dict[str, str]:
    """Describe the machine: processor, cores, memory, kernel, congestion control, system, Python."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    system = re.search(r'^PRETTY_NAME="(.+)"$', Path("/etc/os-release").read_text(), re.MULTILINE)
    return {
        "processor": model[1] if model else platform.processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{int(memory[1]) >> 20} GB" if memory else "",
        "kernel": platform.release(),
        "congestion control": _first_line("/proc/sys/net/ipv4/tcp_congestion_control"),
        "system": system[1] if system else platform.system(),
        "python": version([PYTHON, "-V"], r"(\d\S+)", {}) + f" ({PYTHON})",
    }


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def version(command: list[str], pattern: str, environment: Mapping[str, str]) -> str:
    """Return the version that a program prints, "" if it is not installed."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=20, env={**os.environ, **environment}, cwd=ROOT
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = re.search(pattern, done.stdout + done.stderr)
    return match[1] if match else ""
