"""The event loop of a process, and the settings of the C allocator."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from tests.stage.program import ROOT

FAULTS = """
import resource, sys
from npserver.process.loop import keep_heap

def faults(size=256 << 10):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(300):
        pieces = [b"x" * size for _ in range(4)]
        pieces.clear()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
before = faults()
keep_heap()
faults()
print(before, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have heaps of their own")
def test_memory_of_large_reads_is_not_returned_to_the_system_each_time() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True, timeout=20,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    before, after = map(int, done.stdout.split())
    assert after < 100 < before
