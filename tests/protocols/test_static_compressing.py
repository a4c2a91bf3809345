"""Compression of static files, within bounded memory."""

from __future__ import annotations

import asyncio
import gzip
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from npserver.web import compression
from tests.stage.site import TEXT, site


def rule(root: Path) -> dict[str, Any]:
    return {"handler": "static", "root": str(root)}


class TestCompressing:
    async def test_concurrent_requests_share_one_compression(
        self, root: Path, settled: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = 0

        def counting(coding: str) -> Any:
            def run(data: bytes) -> bytes:
                nonlocal made
                made += 1
                return gzip.compress(data)

            return run

        monkeypatch.setattr(compression, "compressor", counting)
        async with site(rule(root)) as running:
            replies = await asyncio.gather(*(running.ask("/big.txt", Accept_Encoding=f"gzip, x{n}") for n in range(10)))
        assert {gzip.decompress(reply.body) for reply in replies} == {TEXT}
        assert made == 1

    async def test_a_client_that_disconnects_does_not_affect_others(self, root: Path) -> None:
        async with site(rule(root)) as running:
            for _ in range(5):
                client = await running.connect()
                client.writer.write(b"GET /big.txt HTTP/1.1\r\nHost: a\r\nAccept-Encoding: br\r\n\r\n")
                await client.writer.drain()
                client.close()
            assert "Content-Encoding" in await running.ask("/big.txt", Accept_Encoding="br")

    async def test_pipelined_requests_are_answered_in_order(self, root: Path) -> None:
        async with site(rule(root)) as running:
            client = await running.connect()
            client.writer.write(
                b"GET /big.txt HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n"
                b"GET /f.txt HTTP/1.1\r\nHost: a\r\n\r\n"
            )
            assert gzip.decompress((await client.read()).body) == TEXT
            assert (await client.read()).body == b"old content"
            client.close()

    @pytest.mark.parametrize("memory", [0, "16k"])
    async def test_responses_are_the_same_with_a_small_cache(self, root: Path, settled: None, memory: Any) -> None:
        async with site(rule(root), file_cache={"max_size": memory}) as running:
            for _ in range(3):
                assert (await running.ask("/f.txt")).body == b"old content"
                assert (await running.ask("/big.txt")).body == TEXT
                assert gzip.decompress((await running.ask("/big.txt", Accept_Encoding="gzip")).body) == TEXT
                assert (await running.ask("/f.txt", Range="bytes=0-2")).body == b"old"

    def test_zlib_is_used_without_isal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "isal", None)
        compression.compressor.cache_clear()
        try:
            assert gzip.decompress(compression.compressor("gzip")(TEXT)) == TEXT
        finally:
            compression.compressor.cache_clear()


async def test_the_memory_of_many_files_is_bounded(root: Path, settled: None) -> None:
    for number in range(60):
        (root / f"{number}.bin").write_bytes(os.urandom(10_000))
    async with site(rule(root), file_cache={"max_size": "200k", "check_interval": 60}) as running:
        client = await running.connect()
        for _ in range(2):
            for number in range(60):
                assert len((await client.ask(f"/{number}.bin")).body) == 10_000
        client.close()
