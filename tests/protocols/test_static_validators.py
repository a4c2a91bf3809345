"""Validators of files whose modification times say nothing about their content: set by package managers and builds."""

from __future__ import annotations

import asyncio
import gzip
import os
from pathlib import Path
from typing import Any

import pytest

from npserver.web.handlers.static import files, validators
from tests.protocols.test_static_changes import Opens, rule
from tests.stage.site import TEXT, Reply, site

OLD = {"0": 0, "Nix": 1, "buildpacks": 315_532_801, "npm": 499_162_500}
LATER = {"Bazel": 946_684_800, "Earthly": 1_587_038_400}
TIMES = list((OLD | LATER).values())
NAMES = list(OLD | LATER)
UNCHECKED = {"check_interval": 0}

SMALL, LARGE = b"old content", TEXT


def put(path: Path, content: bytes, time_s: int) -> None:
    """Replace a file by one with this content and modification time."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    os.utime(new, (time_s, time_s))
    os.replace(new, path)


def changed(content: bytes) -> bytes:
    """Return other content of the same size."""
    return content[:-1] + b"!"


@pytest.mark.parametrize("time_s", TIMES, ids=NAMES)
@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_changed_content_has_another_tag(
    root: Path, settled: None, content: bytes, coding: str, time_s: int
) -> None:
    """RFC 9110 §8.8.3: a strong entity tag stands for one content. The sizes are the same, and so are the times."""
    async with site(rule(root), file_cache=UNCHECKED) as running:
        put(root / "f.txt", content, time_s)
        old = await running.ask("/f.txt", Accept_Encoding=coding)
        assert (await running.ask("/f.txt", Accept_Encoding=coding, If_None_Match=old["ETag"])).status == 304
        put(root / "f.txt", changed(content), time_s)
        new = await running.ask("/f.txt", Accept_Encoding=coding, If_None_Match=old["ETag"])
        assert (new.status, plain(new)) == (200, changed(content))
        assert new["ETag"] != old["ETag"]
        assert (await running.ask("/f.txt", Accept_Encoding=coding, If_Match=old["ETag"])).status == 412
        whole = await running.ask("/f.txt", Range="bytes=1-2", If_Range=old["ETag"])
        assert (whole.status, whole.body) == (200, changed(content))
        part = await running.ask("/f.txt", Range="bytes=1-2", If_Range=whole["ETag"])
        assert (part.status, part.body) == (206, content[1:3])


@pytest.mark.parametrize("time_s", TIMES, ids=NAMES)
@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("memory", [0, "64m"], ids=["uncached", "cached"])
async def test_equal_content_has_one_tag_on_every_machine(
    root: Path, settled: None, tmp_path: Path, content: bytes, memory: Any, time_s: int
) -> None:
    """Other inodes and times of status change, as on another machine or in another container; another cache."""
    tags = set()
    for number in range(2):
        directory = tmp_path / str(number)
        directory.mkdir()
        put(directory / "f.txt", content, time_s)
        async with site(rule(directory), file_cache={"max_size": memory} if number else {}) as running:
            for method in ("HEAD", "GET"):
                tags.add((await running.ask("/f.txt", method))["ETag"])
    assert len(tags) == 1


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
async def test_a_changed_precompressed_file_has_another_tag(root: Path, settled: None, content: bytes) -> None:
    async with site(rule(root), file_cache=UNCHECKED) as running:
        put(root / "f.txt", content, 1)
        found = []
        for _ in range(2):
            content = changed(content) if found else content
            put(root / "f.txt.gz", gzip.compress(content, 0, mtime=0), 1)
            found.append(await running.ask("/f.txt", Accept_Encoding="gzip"))
            assert plain(found[-1]) == content
            assert found[-1]["ETag"].endswith('-gzip"')
        assert found[0]["ETag"] != found[1]["ETag"]
        assert len(found[0].body) == len(found[1].body)


@pytest.mark.parametrize("time_s", TIMES, ids=NAMES)
async def test_a_file_too_large_for_a_digest(
    root: Path, settled: None, monkeypatch: pytest.MonkeyPatch, time_s: int
) -> None:
    """The time of its status change takes the place of a modification time that cannot be real."""
    monkeypatch.setattr(validators, "MAX_DIGESTED_BYTES", len(LARGE) - 1)
    tags = []
    async with site(rule(root), file_cache=UNCHECKED) as running:
        for content in (LARGE, changed(LARGE)):
            put(root / "f.txt", content, time_s)
            tags.append((await running.ask("/f.txt"))["ETag"])
    if time_s in LATER.values():
        assert tags == [f'"{time_s * 10**9:x}-{len(LARGE):x}"'] * 2
    else:
        assert tags[0] != tags[1]


class TestDates:
    """RFC 9110 §13.1.3, §13.1.4: a date is compared only with a modification date, and 1970 is none."""

    @pytest.mark.parametrize("time_s", OLD.values(), ids=OLD)
    async def test_a_time_that_cannot_be_real_is_no_modification_date(
        self, root: Path, settled: None, time_s: int
    ) -> None:
        """A cache that is told of 1970 keeps the content for years (RFC 9111 §4.2.2: a tenth of its age)."""
        put(root / "f.txt", SMALL, time_s)
        date = "Sun, 06 Nov 1994 08:49:37 GMT"
        async with site(rule(root)) as running:
            for fields, status in (
                ({"If_Modified_Since": date}, 200),
                ({"If_Modified_Since": "Thu, 01 Jan 1970 00:00:01 GMT"}, 200),
                ({"If_Unmodified_Since": "Thu, 01 Jan 1970 00:00:00 GMT"}, 200),
                ({"If_Unmodified_Since": date}, 200),
                ({"Range": "bytes=0-1", "If_Range": "Thu, 01 Jan 1970 00:00:01 GMT"}, 200),
                ({"Range": "bytes=0-1"}, 206),
            ):
                reply = await running.ask("/f.txt", **fields)
                assert (reply.status, "Last-Modified" in reply) == (status, False)

    @pytest.mark.parametrize("time_s", LATER.values(), ids=LATER)
    async def test_any_other_is(self, root: Path, settled: None, time_s: int) -> None:
        put(root / "f.txt", SMALL, time_s)
        async with site(rule(root)) as running:
            date = (await running.ask("/f.txt"))["Last-Modified"]
            assert (await running.ask("/f.txt", If_Modified_Since=date)).status == 304


class TestDigests:
    """A large file is digested in a thread before the first answer."""

    async def test_many_requests_share_a_digest_that_is_kept(
        self, root: Path, settled: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(root / "f.txt", LARGE, 1)
        digested = self.count(monkeypatch)
        async with site(rule(root, gzip=False), file_cache=UNCHECKED) as running:
            replies = await asyncio.gather(*(running.ask("/f.txt") for _ in range(20)))
            assert {reply.body for reply in replies} == {LARGE}
            assert len({reply["ETag"] for reply in replies}) == 1
            assert (await running.ask("/f.txt", "HEAD"))["ETag"] == replies[0]["ETag"]
            seen = Opens(monkeypatch, root)
            assert (await running.ask("/f.txt", If_None_Match=replies[0]["ETag"])).status == 304
            assert seen.opens == 0
        assert len(digested) == 1

    async def test_a_file_that_is_replaced_meanwhile_is_digested_again(
        self, root: Path, settled: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(root / "f.txt", LARGE, 1)
        self.count(monkeypatch, lambda: put(root / "f.txt", changed(LARGE), 1))
        async with site(rule(root), file_cache=UNCHECKED) as running:
            first = await running.ask("/f.txt")
            assert first.body == changed(LARGE)
            assert (await running.ask("/f.txt"))["ETag"] == first["ETag"]

    async def test_a_file_that_is_removed_meanwhile_is_missing(
        self, root: Path, settled: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(root / "f.txt", LARGE, 1)
        self.count(monkeypatch, (root / "f.txt").unlink)
        async with site(rule(root)) as running:
            assert (await running.ask("/f.txt")).status == 404

    async def test_a_file_written_just_now_is_not_waited_for(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its times may stay the same although the content changes again: a digest could be of older content."""
        monkeypatch.setattr(validators, "UNSETTLED_NS", 10**15)
        digested = self.count(monkeypatch)
        put(root / "f.txt", LARGE, 1)
        async with site(rule(root)) as running:
            assert (await running.ask("/f.txt"))["ETag"].endswith('-c"')
        assert digested == []

    async def test_digests_kept_are_bounded(self, root: Path, settled: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(validators, "MAX_DIGESTS", 2)
        for number in range(5):
            put(root / f"{number}.bin", LARGE + bytes((number,)), 1)
        digested = self.count(monkeypatch)
        async with site(rule(root), file_cache={"max_size": 0}) as running:
            for _ in range(2):
                tags = {(await running.ask(f"/{number}.bin", "HEAD"))["ETag"] for number in range(5)}
                assert len(tags) == 5
        assert len(digested) > 5

    @staticmethod
    def count(monkeypatch: pytest.MonkeyPatch, before_first: Any = None) -> list[int]:
        """Return a list of the files digested from now on. `before_first` is called before the first is read."""
        real, found = files.digest_file, []

        def digest(file: int, expected: Any) -> bytes | None:
            if before_first is not None and not found:
                before_first()
            found.append(file)
            return real(file, expected)

        monkeypatch.setattr(files, "digest_file", digest)
        return found


async def test_a_time_with_a_fraction_is_the_tag(root: Path, settled: None) -> None:
    """It was set by the file system when the content was written."""
    os.utime(root / "f.txt", ns=(1, 1_700_000_000_000_000_001))
    async with site(rule(root)) as running:
        assert (await running.ask("/f.txt"))["ETag"] == f'"{1_700_000_000_000_000_001:x}-b"'


def plain(reply: Reply) -> bytes:
    """Return the content of a response, decompressed."""
    return gzip.decompress(reply.body) if "Content-Encoding" in reply else reply.body
