"""Where caches in memory are: servers that share nothing share no cache either."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from npserver.config.document import Document
from npserver.config.schema import Config
from npserver.web.handlers.proxy.cache import directory as directories
from npserver.web.handlers.proxy.cache.directory import memory_directory, remove_abandoned
from tests.stage.site import site

FRESH = {"handler": "respond", "headers": {"Cache-Control": "max-age=60"}}
EMBEDDED = """
import asyncio, sys, npserver
from npserver.web.handlers.proxy.cache import directory, service
directory.MEMORY = sys.argv[1]
def told(path):
    file = directory.hold(path)
    print(path, flush=True)
    return file
service.hold = told
async def main():
    rule = {"handler": "proxy", "proxy_pass": "http://127.0.0.1:9", "cache": True}
    async with npserver.serve({"listen": ["http://127.0.0.1:0"], "dispatch": [rule]}):
        await asyncio.to_thread(sys.stdin.read)
asyncio.run(main())
"""


async def test_servers_without_a_config_file_have_caches_of_their_own() -> None:
    """In one process or not. The end of one does not empty the cache of another."""
    async with site({**FRESH, "body": "a"}) as one, site({**FRESH, "body": "b"}) as other:
        rules = [
            {"handler": "proxy", "proxy_pass": behind.url, "cache": {"key": "$request_uri"}} for behind in (one, other)
        ]
        async with site(rules[0]) as first:
            async with site(rules[1]) as second:
                assert [(await caching.ask("/")).body for caching in (first, second) for _ in range(2)] == [
                    b"a", b"a", b"b", b"b",
                ]  # fmt: skip
            reply = await first.ask("/")
            assert reply.body == b"a"
            assert reply["Cache-Status"].startswith("npserver; hit;")


def test_what_a_killed_server_leaves_in_memory_is_removed_by_the_next(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def start() -> tuple[subprocess.Popen[str], Path]:
        program = subprocess.Popen(
            [sys.executable, "-c", EMBEDDED, str(tmp_path)],
            env={**os.environ, "PYTHONPATH": "src"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert program.stdout is not None
        return program, Path(program.stdout.readline().rstrip())

    monkeypatch.setattr(directories, "MEMORY", str(tmp_path))
    killed, left = start()
    killed.kill()
    killed.communicate()
    running, used = start()
    try:
        assert left.exists(), "it is too new to be removed"
        monkeypatch.setattr(directories, "_NEW_S", 0.0)
        remove_abandoned()
        assert not left.exists()
        assert used.exists()
    finally:
        running.kill()
        running.communicate()
    remove_abandoned()
    assert not used.exists()


def test_a_seed_does_not_show_in_the_name() -> None:
    document = Document(Config(), "command line")
    seeds = [b"0" * 16, b"1" * 16]
    names = {os.path.basename(memory_directory(document, seed)) for seed in seeds}
    assert len(names) == 2
    assert not any(seed.hex()[:8] in name for seed in seeds for name in names)
