"""npserver in a process of its own whose cycle collector is off, which counts the objects that only it would free.

Run as `python -m tests.stage.uncollected LOOP CONFIG`. It prints the URI of each listener, then answers each line on
standard input by a JSON object: the name of each type of which cycles hold instances, and their number. They are freed.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Self

import uvloop

import npserver

ROOT = Path(__file__).parents[2]
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
SETTLE_S = 0.35  # until the deadline sweeper has let go what it watched


async def main(config: dict[str, Any]) -> None:
    """Serve until standard input ends."""
    logging.getLogger("npserver").addHandler(logging.NullHandler())
    async with npserver.serve(config) as server:
        gc.collect()
        gc.disable()
        print(json.dumps({name: address.port for name, address in server.addresses.items()}), flush=True)
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, sys.stdin.readline):
            await asyncio.sleep(SETTLE_S)
            print(json.dumps(uncollected()), flush=True)


def uncollected() -> dict[str, int]:
    """Collect; return how many objects of each type were garbage."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    gc.set_debug(0)
    kinds = Counter(f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.garbage)
    gc.garbage.clear()
    gc.collect()
    return dict(kinds)


class Uncollected:
    """The process, seen from a test."""

    def __init__(self, loop: str, config: dict[str, Any]) -> None:
        command = (sys.executable, "-m", "tests.stage.uncollected", loop, json.dumps(config))
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        )
        self.ports: dict[str, int] = json.loads(self._read())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate(timeout=30)

    def count(self) -> Counter[str]:
        """Return the types of the objects that cycles held since the last call, with their numbers."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return Counter(json.loads(self._read()))

    def _read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=LOOPS[sys.argv[1]]) as runner:
        runner.run(main(json.loads(sys.argv[2])))
