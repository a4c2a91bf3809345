"""RFC 9110 §14 and §15.3.7: byte ranges of files that are small enough for the cache, and of large ones."""

from __future__ import annotations

import email.parser
import email.policy
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from npserver.web.handlers.static import byte_ranges
from tests.stage.site import Reply, Site, site

SMALL = bytes(range(256)) * 4
LARGE = bytes(range(251)) * 4000  # about 1 MB


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Site]:
    (tmp_path / "small.bin").write_bytes(SMALL)
    (tmp_path / "large.bin").write_bytes(LARGE)
    (tmp_path / "empty.bin").write_bytes(b"")
    (tmp_path / "text.html").write_bytes(b"<p>text" * 1000)
    async with site({"handler": "static", "root": str(tmp_path)}, limits={"max_ranges": 4}) as running:
        yield running


FILES = [("/small.bin", SMALL), ("/large.bin", LARGE)]


def parts_of(reply: Reply) -> list[tuple[str, bytes]]:
    """Content-Range and content of each part of a multipart/byteranges response, parsed by the standard library."""
    parser = email.parser.BytesParser(policy=email.policy.HTTP)
    message = parser.parsebytes(b"Content-Type: " + reply["Content-Type"].encode() + b"\r\n\r\n" + reply.body)
    assert not message.defects
    found = []
    for part in message.iter_parts():  # type: ignore[attr-defined]
        assert part["Content-Type"] == "application/octet-stream"
        content = part.get_payload(decode=True)
        found.append((str(part["Content-Range"]), content))
    return found


class TestByteRanges:
    """RFC 9110 §14.1.2."""

    @pytest.mark.parametrize(("path", "content"), FILES)
    @pytest.mark.parametrize(
        ("wanted", "start", "end"),
        [("bytes=0-0", 0, 1), ("bytes=0-499", 0, 500), ("bytes=500-", 500, None), ("bytes=-1", -1, None),
         ("bytes=-500", -500, None), ("bytes=10-99999999", 10, None), ("bytes=-99999999", 0, None)],
    )  # fmt: skip
    async def test_one_range_gets_one_part(
        self, served: Site, path: str, content: bytes, wanted: str, start: int, end: int | None
    ) -> None:
        reply = await served.ask(path, Range=wanted)
        expected = content[start:end]
        first = start if start >= 0 else len(content) + start
        assert reply.status == 206
        assert reply.body == expected
        assert reply["Content-Range"] == f"bytes {first}-{first + len(expected) - 1}/{len(content)}"
        assert reply["Content-Type"] == "application/octet-stream"
        for name in ("ETag", "Last-Modified", "Accept-Ranges"):
            assert name in reply

    @pytest.mark.parametrize(("path", "content"), FILES)
    async def test_a_download_in_pieces_is_the_file(self, served: Site, path: str, content: bytes) -> None:
        client = await served.connect()
        step = len(content) // 7
        pieces = [
            (await client.ask(path, Range=f"bytes={start}-{start + step - 1}")).body
            for start in range(0, len(content), step)
        ]
        client.close()
        assert b"".join(pieces) == content


class TestRange:
    """RFC 9110 §14.2."""

    @pytest.mark.parametrize("wanted", ["lines=0-1", "bytes=5-4", "bytes=a-b", "bytes=", "0-1"])
    async def test_what_is_not_understood_is_ignored(self, served: Site, wanted: str) -> None:
        reply = await served.ask("/small.bin", Range=wanted)
        assert (reply.status, reply.body) == (200, SMALL)

    async def test_a_range_on_head_is_ignored(self, served: Site) -> None:
        reply = await served.ask("/small.bin", "HEAD", Range="bytes=0-1")
        assert reply.status == 200
        assert reply["Content-Length"] == str(len(SMALL))

    async def test_a_part_is_always_of_the_plain_file(self, served: Site) -> None:
        """Content compressed on the fly may have other bytes the next time."""
        whole = await served.ask("/text.html", Accept_Encoding="gzip")
        part = await served.ask("/text.html", Accept_Encoding="gzip", Range="bytes=0-2")
        assert whole["Content-Encoding"] == "gzip"
        assert "Accept-Ranges" not in whole
        assert part.body == b"<p>"
        assert "Content-Encoding" not in part
        assert part["ETag"] != whole["ETag"]
        assert part["Vary"] == "Accept-Encoding"

    async def test_a_client_that_refuses_the_plain_file_gets_no_part(self, served: Site) -> None:
        reply = await served.ask("/text.html", Accept_Encoding="gzip, identity;q=0", Range="bytes=0-2")
        assert reply.status == 200
        assert reply["Content-Encoding"] == "gzip"

    async def test_too_many_ranges_get_the_whole_file(self, served: Site) -> None:
        four = "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 8, 2))
        assert (await served.ask("/small.bin", Range=four)).status == 206
        assert (await served.ask("/small.bin", Range=four + ",9-9")).status == 200

    async def test_ten_thousand_ranges_cost_no_more_than_the_file(self, served: Site) -> None:
        """CVE-2011-3192, CVE-2025-62727."""
        reply = await served.ask("/large.bin", Range="bytes=" + ",".join(["0-"] * 10_000))
        assert (reply.status, len(reply.body)) == (200, len(LARGE))


class TestMultipart:
    """RFC 9110 §14.6."""

    @pytest.mark.parametrize(("path", "content"), FILES)
    async def test_parts_come_in_the_order_asked(self, served: Site, path: str, content: bytes) -> None:
        reply = await served.ask(path, Range="bytes=500-509, 0-4, -3")
        assert reply.status == 206
        assert reply["Content-Type"].startswith("multipart/byteranges; boundary=")
        assert "Content-Range" not in reply
        size = len(content)
        assert parts_of(reply) == [
            (f"bytes 500-509/{size}", content[500:510]),
            (f"bytes 0-4/{size}", content[:5]),
            (f"bytes {size - 3}-{size - 1}/{size}", content[-3:]),
        ]

    async def test_large_parts_are_streamed(self, served: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(byte_ranges, "_BLOCK_BYTES", 1000)
        monkeypatch.setattr(byte_ranges, "_TURN_BLOCKS", 3)
        half = len(LARGE) // 2
        reply = await served.ask("/large.bin", Range=f"bytes={half}-, 0-{half - 10}")
        assert [content for _, content in parts_of(reply)] == [LARGE[half:], LARGE[: half - 9]]

    async def test_a_single_satisfiable_part_is_not_multipart(self, served: Site) -> None:
        reply = await served.ask("/small.bin", Range="bytes=0-4, 5000-")
        assert reply["Content-Range"] == "bytes 0-4/1024"
        assert reply.body == SMALL[:5]

    async def test_the_boundary_differs_each_time(self, served: Site) -> None:
        types = {(await served.ask("/small.bin", Range="bytes=0-0,2-2"))["Content-Type"] for _ in range(3)}
        assert len(types) == 3


class TestNotSatisfiable:
    """RFC 9110 §15.5.17."""

    @pytest.mark.parametrize(("path", "content"), FILES)
    async def test_416_says_how_long_it_is(self, served: Site, path: str, content: bytes) -> None:
        reply = await served.ask(path, Range=f"bytes={len(content)}-")
        assert reply.status == 416
        assert reply["Content-Range"] == f"bytes */{len(content)}"

    async def test_an_empty_file_has_no_range(self, served: Site) -> None:
        assert (await served.ask("/empty.bin", Range="bytes=0-")).status == 416
        assert (await served.ask("/empty.bin", Range="bytes=-1")).status == 200
        assert (await served.ask("/empty.bin")).body == b""
