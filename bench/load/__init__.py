"""Load generators. Each runs as a process of its own on the other core, and returns a `Load`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass

from bench.machine import LOAD_CORE, ROOT, pinned


@dataclass(frozen=True, slots=True)
class Load:
    """The measurements of a load generator."""

    count: float  # of requests, messages, bytes: whatever the workload counts
    seconds: float
    errors: int = 0
    p50_us: float = 0.0
    p99_us: float = 0.0
    generator_cpu_s: float = 0.0
    size: float = 0.0  # mean bytes of an answer, where known


def run(command: list[str], environment: dict[str, str] | None = None) -> tuple[str, float, float]:
    """Run a generator to its end. Return its output, the time it took and the CPU time it used."""
    before = os.times()
    begin = time.perf_counter()
    done = subprocess.run(
        pinned(LOAD_CORE, command), capture_output=True, text=True, env={**os.environ, **(environment or {})}, cwd=ROOT
    )
    seconds = time.perf_counter() - begin
    after = os.times()
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr[-2000:] or done.stdout[-2000:]}")
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return done.stdout, seconds, used


def sockets(mode: str, port: int, **options: object) -> Load:
    """Run our own generator over raw sockets, `load/sockets.py`."""
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    output, _, used = run([sys.executable, "-m", "bench.load.sockets", mode, f"--port={port}", *arguments])
    return Load(**json.loads(output), generator_cpu_s=used)
