"""A real process that uses a store: told by lines of JSON on stdin what to do, it answers by lines on stdout.

Run as `python -m tests.stage.store_process DIRECTORY`. `StoreProcess` is the side of the test.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from npserver.errors import StoreError
from npserver.store.directory import DirectoryLock, DirectoryStore
from npserver.store.files import StoreFiles

ROOT = Path(__file__).parents[2]


class StoreProcess:
    """A process with a store in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.stage.store_process", str(directory)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        )

    def __enter__(self) -> StoreProcess:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.communicate()

    def begin(self, operation: str, *arguments: Any) -> None:
        """Have it do something; `answer` waits for the result."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([operation, *arguments]) + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        """Return the result of what was begun first."""
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def do(self, operation: str, *arguments: Any) -> Any:
        """Do something and return its result."""
        self.begin(operation, *arguments)
        return self.answer()


class _Side:
    """The side of the process."""

    def __init__(self, store: DirectoryStore) -> None:
        self.store = store
        self.held: dict[str, DirectoryLock] = {}

    async def put(self, key: str, value: str) -> None:
        await self.store.put(key, value.encode())

    async def get(self, key: str) -> str | None:
        value = await self.store.get(key)
        return None if value is None else value.decode()

    async def delete(self, key: str) -> None:
        await self.store.delete(key)

    async def list(self, prefix: str) -> list[str]:
        return await self.store.list(prefix)

    async def swap(self, key: str, expected: str | None, value: str | None) -> bool:
        return await self.store.compare_and_swap(
            key, *(one if one is None else one.encode() for one in (expected, value))
        )

    async def lock(self, name: str, expiry_s: float, timeout_s: float) -> bool:
        if (lock := await self.store.lock(name, expiry_s=expiry_s, timeout_s=timeout_s)) is not None:
            self.held[name] = lock
        return lock is not None

    async def extend(self, name: str) -> bool:
        return await self.held[name].extend()

    async def release(self, name: str) -> None:
        await self.held.pop(name).release()

    async def count(self, key: str, times: int) -> None:
        """Add one to the number at `key`, so many times."""
        for _ in range(times):
            while True:
                value = await self.store.get(key)
                if await self.store.compare_and_swap(key, value, b"%d" % (int(value or b"0") + 1)):
                    break

    async def fill(self, key: str, size: int) -> None:
        """Set `key` again and again, to values of one letter; never ends."""
        number = 0
        print(json.dumps("begun"), flush=True)
        while True:
            await self.store.put(key, b"abcdefghij"[number % 10 : number % 10 + 1] * size)
            number += 1

    async def limit(self, size: int) -> None:
        """Let no file grow past `size` bytes."""
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


async def _main(directory: str) -> None:
    side = _Side(DirectoryStore(StoreFiles(directory)))
    for line in sys.stdin:
        operation, *arguments = json.loads(line)
        try:
            result = await getattr(side, operation)(*arguments)
        except StoreError as error:
            result = f"StoreError: {error}"
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
