"""Files that change while they are served."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import pytest

from npserver.web import compression
from npserver.web.handlers.static import files
from npserver.web.handlers.static.cache import Entry
from npserver.web.server.http1 import sendfile
from tests.stage.site import TEXT, site


def rule(root: Path, **more: Any) -> dict[str, Any]:
    return {"handler": "static", "root": str(root), **more}


def replace(path: Path, content: bytes) -> None:
    """Replace a file atomically by a new one, as careful programs do."""
    path.with_suffix(".new").write_bytes(content)
    os.replace(path.with_suffix(".new"), path)


class Opens:
    """Counts the `stat` and `open` calls for files of a directory."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        self.stats = 0
        self.opens = 0
        self._directory = str(directory)
        real_stat, real_open = os.stat, os.open

        def stat(path: Any, **options: Any) -> os.stat_result:
            self.stats += str(path).startswith(self._directory)
            return real_stat(path, **options)

        def open_(path: Any, *rest: Any) -> int:
            self.opens += str(path).startswith(self._directory)
            return real_open(path, *rest)

        monkeypatch.setattr(os, "stat", stat)
        monkeypatch.setattr(os, "open", open_)


class TestFreshness:
    async def test_a_small_file_is_not_checked_within_the_interval(
        self, root: Path, settled: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with site(rule(root), file_cache={"check_interval": 60}) as running:
            client = await running.connect()
            await client.ask("/f.txt")
            seen = Opens(monkeypatch, root)
            for fields in ({}, {"If_None_Match": "*"}, {"Range": "bytes=0-2"}, {"Cookie": "a=b"}):
                await client.ask("/f.txt", **fields)
            assert (seen.stats, seen.opens) == (0, 0)
            client.close()

    async def test_a_large_file_is_opened_but_not_looked_up_within_the_interval(
        self, root: Path, settled: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with site(rule(root, gzip=False), file_cache={"check_interval": 60}) as running:
            client = await running.connect()
            await client.ask("/big.txt")
            seen = Opens(monkeypatch, root)
            assert (await client.ask("/big.txt")).body == TEXT
            assert (seen.stats, seen.opens) == (0, 1)
            client.close()

    async def test_every_change_is_seen_after_the_interval(self, root: Path, settled: None) -> None:
        async with site(rule(root), file_cache={"check_interval": 0}) as running:
            client = await running.connect()
            tags = set()
            for content in (b"old content", b"new content", b"longer new content", b""):
                replace(root / "f.txt", content)
                reply = await client.ask("/f.txt")
                assert reply.body == content
                tags.add(reply["ETag"])
            assert len(tags) == 4
            (root / "f.txt").unlink()
            assert (await client.ask("/f.txt")).status == 404
            (root / "f.txt").write_bytes(b"again")
            assert (await client.ask("/f.txt")).body == b"again"
            client.close()

    async def test_a_new_file_earlier_in_the_search_order_is_found(self, root: Path, settled: None) -> None:
        """With `try_files` or several index names, it is not enough that the file sent so far is unchanged."""
        (root / "page").write_bytes(b"second choice")
        (root / "new").mkdir()
        (root / "d").mkdir()
        (root / "d" / "index.htm").write_bytes(b"second choice")
        tried = {"try_files": ["/new$path", "$path", "$path/", "=404"], "index": ["index.html", "index.htm"]}
        async with site(rule(root, **tried), file_cache={"check_interval": 0}) as running:
            client = await running.connect()
            for path, preferred in (("/page", root / "new" / "page"), ("/d/", root / "d" / "index.html")):
                for _ in range(3):
                    assert (await client.ask(path)).body == b"second choice"
                preferred.write_bytes(b"first choice")
                assert (await client.ask(path)).body == b"first choice"
            client.close()

    async def test_an_unchanged_file_keeps_its_representations(
        self, root: Path, settled: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = 0
        original = compression.compressor("gzip")

        def counting(coding: str) -> Any:
            def run(data: bytes) -> bytes:
                nonlocal made
                made += 1
                return original(data)

            return run

        monkeypatch.setattr(compression, "compressor", counting)
        async with site(rule(root), file_cache={"check_interval": 0}) as running:
            for _ in range(3):
                assert gzip.decompress((await running.ask("/big.txt", Accept_Encoding="gzip")).body) == TEXT
        assert made == 1

    async def test_a_file_just_written_is_not_trusted_to_show_its_changes(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Two writes within one tick of the file system's clock leave the same times and size."""
        monkeypatch.setattr(files, "UNSETTLED_NS", 60 * 10**9)  # however slow the test is
        async with site(rule(root), file_cache={"check_interval": 60}) as running:
            (root / "f.txt").write_bytes(b"first!")
            assert (await running.ask("/f.txt")).body == b"first!"
            (root / "f.txt").write_bytes(b"second")
            assert (await running.ask("/f.txt")).body == b"second"

    async def test_an_added_or_removed_sibling_is_noticed(self, root: Path, settled: None) -> None:
        async with site(rule(root), file_cache={"check_interval": 0}) as running:
            assert "Vary" in await running.ask("/big.txt")
            (root / "big.txt.gz").write_bytes(b"from the sibling")
            assert (await running.ask("/big.txt", Accept_Encoding="gzip")).body == b"from the sibling"
            (root / "big.txt.gz").unlink()
            assert gzip.decompress((await running.ask("/big.txt", Accept_Encoding="gzip")).body) == TEXT


class TestWhileItIsSent:
    @pytest.mark.parametrize("interval", [0, 60])
    async def test_a_replaced_large_file_is_sent_with_its_own_fields(
        self, root: Path, settled: None, interval: int
    ) -> None:
        """Within the interval too: the identity of the opened file is compared with that of the entry."""
        async with site(rule(root, gzip=False), file_cache={"check_interval": interval}) as running:
            old = await running.ask("/big.txt")
            replace(root / "big.txt", TEXT[:-31])
            new = await running.ask("/big.txt")
            assert new.body == TEXT[:-31]
            assert new["ETag"] != old["ETag"]
            part = await running.ask("/big.txt", Range="bytes=-5")
            assert part["Content-Range"] == f"bytes {len(TEXT) - 36}-{len(TEXT) - 32}/{len(TEXT) - 31}"

    async def test_a_file_that_shrinks_while_sent_closes_the_connection(self, root: Path) -> None:
        size = 30_000_000
        file = root / "huge.bin"
        with file.open("wb") as stream:
            stream.truncate(size)
        async with site(rule(root)) as running:
            client = await running.connect()
            client.writer.write(b"GET /huge.bin HTTP/1.1\r\nHost: a\r\n\r\n")
            head = await client.reader.readuntil(b"\r\n\r\n")
            assert b"Content-Length: 30000000" in head
            os.truncate(file, 1000)
            try:
                received = len(await client.at_end())
            except ConnectionResetError:
                received = 0
            assert received < size
            client.close()

    @pytest.mark.parametrize("uses_kernel", [True, False])
    @pytest.mark.parametrize("wanted", ["bytes=0-", "bytes=5-14999999,16000000-29999999"])
    async def test_a_file_overwritten_while_sent_is_not_sent_as_a_mixture(
        self, root: Path, monkeypatch: pytest.MonkeyPatch, uses_kernel: bool, wanted: str
    ) -> None:
        monkeypatch.setattr(sendfile.FileSender, "uses_kernel", uses_kernel)
        size = 30_000_000
        (root / "huge.bin").write_bytes(b"\0" * size)
        async with site(rule(root)) as running:
            client = await running.connect()
            client.writer.write(f"GET /huge.bin HTTP/1.1\r\nHost: a\r\nRange: {wanted}\r\n\r\n".encode())
            assert b" 206 " in await client.reader.readuntil(b"\r\n\r\n")
            with (root / "huge.bin").open("r+b") as file:
                file.write(b"\1" * size)
            try:
                received = len(await client.at_end())
            except ConnectionResetError:
                received = 0
            assert received < 28_000_000
            client.close()

    async def test_a_file_that_grows_while_sent_is_sent_with_its_old_size(self, root: Path) -> None:
        content = os.urandom(1000) * 20_000
        (root / "huge.log").write_bytes(content)
        async with site(rule(root)) as running:
            client = await running.connect()
            client.writer.write(b"GET /huge.log HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            await client.reader.readuntil(b"\r\n\r\n")
            with (root / "huge.log").open("ab") as file:
                file.write(b"another line")
            assert await client.at_end() == content
            client.close()

    async def test_a_file_deleted_while_sent_is_sent_whole(self, root: Path) -> None:
        content = os.urandom(1000) * 20_000
        (root / "huge.bin").write_bytes(content)
        async with site(rule(root)) as running:
            client = await running.connect()
            client.writer.write(b"GET /huge.bin HTTP/1.1\r\nHost: a\r\n\r\n")
            head = await client.reader.readuntil(b"\r\n\r\n")
            (root / "huge.bin").unlink()
            assert b" 200 " in head
            assert await client.reader.readexactly(len(content)) == content
            client.close()

    async def test_a_small_file_that_changes_while_it_is_read_is_read_again(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real_pread = os.pread
        changes = iter([b"changed once", b"changed again!"])

        def meddling(file: int, size: int, offset: int) -> bytes:
            data = real_pread(file, size, offset)
            if offset == 0 and (content := next(changes, None)) is not None:
                (root / "f.txt").write_bytes(content)
            return data

        monkeypatch.setattr(os, "pread", meddling)
        async with site(rule(root)) as running:
            reply = await running.ask("/f.txt")
        assert reply.body == b"changed again!"
        assert reply["Content-Length"] == str(len(reply.body))

    async def test_a_file_that_never_stops_changing_is_503(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        real_pread = os.pread
        count = 0

        def meddling(file: int, size: int, offset: int) -> bytes:
            nonlocal count
            count += 1
            (root / "f.txt").write_bytes(b"x" * count)
            return real_pread(file, size, offset)

        monkeypatch.setattr(os, "pread", meddling)
        async with site(rule(root)) as running:
            assert (await running.ask("/f.txt")).status == 503

    async def test_a_file_replaced_before_compression_is_compressed_again(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        original = files.Files.read
        news = iter([TEXT[:70_000]])

        def late(self: files.Files, entry: Entry) -> bytes | None:
            if (content := next(news, None)) is not None:
                replace(root / "big.txt", content)
            return original(self, entry)

        monkeypatch.setattr(files.Files, "read", late)
        async with site(rule(root), file_cache={"max_file_size": 0}) as running:
            reply = await running.ask("/big.txt", Accept_Encoding="gzip")
            plain = await running.ask("/big.txt")
        assert gzip.decompress(reply.body) == TEXT[:70_000]
        assert reply["ETag"] == plain["ETag"][:-1] + '-gzip"'


async def test_siblings_are_not_looked_up_while_the_directory_is_unchanged(
    root: Path, settled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site(rule(root), file_cache={"check_interval": 0}) as running:
        client = await running.connect()
        await client.ask("/f.txt")
        seen = Opens(monkeypatch, root)
        await client.ask("/f.txt")
        assert (seen.stats, seen.opens) == (2, 0)  # the file and its directory
        client.close()


async def test_a_sibling_updated_in_place_is_used(root: Path, settled: None) -> None:
    (root / "big.txt.gz").write_bytes(b"older")
    os.utime(root / "big.txt.gz", (0, 0))
    async with site(rule(root), file_cache={"check_interval": 0}) as running:
        assert gzip.decompress((await running.ask("/big.txt", Accept_Encoding="gzip")).body) == TEXT
        (root / "big.txt.gz").write_bytes(b"newer")
        assert (await running.ask("/big.txt", Accept_Encoding="gzip")).body == b"newer"
