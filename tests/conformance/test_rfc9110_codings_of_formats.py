"""RFC 9110 §8.4: formats that are another one in a content coding. SVG in gzip is named `.svgz`, `.tgz` is a type."""

from __future__ import annotations

import gzip
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.stage.site import Reply, Site, site

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><path d="M0 0"/></svg>\n' * 40
FILE = gzip.compress(SVG, mtime=0)
NOISE = gzip.compress(os.urandom(100_000))  # larger than what is cached
TYPE = "image/svg+xml; charset=utf-8"


@pytest.fixture(params=[{}, {"gzip": False, "precompressed": False}, {"gzip": {"types": ["application/gzip"]}}])
async def served(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    (tmp_path / "a.svgz").write_bytes(FILE)
    (tmp_path / "large.svgz").write_bytes(NOISE)
    for name in ("a.svgz.gz", "a.svgz.br", "a.svgz.zst"):
        (tmp_path / name).write_bytes(b"never sent")
    for name in ("a.tgz", "a.json.gz", "a.svg.gz"):
        (tmp_path / name).write_bytes(FILE)
    rule: dict[str, Any] = {"handler": "static", "root": str(tmp_path), "cache_control": "max-age=60"}
    async with site(rule | request.param, file_cache={"check_interval": 60}) as running:
        yield running


ACCEPTED = [None, "gzip", "x-gzip", "br, gzip", "gzip;q=0.1, br, zstd", "*", "identity, gzip", "gzip, identity;q=0"]
REFUSED = ["", "identity", "br", "gzip;q=0", "gzip;q=0, *"]


@pytest.mark.parametrize("name", ["/a.svgz", "/large.svgz"])
class TestSvgz:
    """Each request is sent twice: the second is answered from the cache, where the file is kept there."""

    @staticmethod
    async def ask(served: Site, name: str, accepted: str | None, method: str = "GET", **fields: str) -> Reply:
        if accepted is not None:
            fields["Accept_Encoding"] = accepted
        first = await served.ask(name, method, **fields)
        again = await served.ask(name, method, **fields)
        assert (first.status, first.body) == (again.status, again.body)
        return again

    @pytest.mark.parametrize("accepted", ACCEPTED)
    async def test_gzip_is_its_coding(self, served: Site, name: str, accepted: str | None) -> None:
        """Without Accept-Encoding any coding is acceptable (§12.5.3)."""
        for method in ("GET", "HEAD"):
            reply = await self.ask(served, name, accepted, method)
            assert (reply.status, reply["Content-Type"], reply["Content-Encoding"]) == (200, TYPE, "gzip")
            assert (reply["Vary"], reply["Accept-Ranges"]) == ("Accept-Encoding", "bytes")
            content = FILE if name == "/a.svgz" else NOISE
            assert reply["Content-Length"] == str(len(content))
            assert reply.body == (content if method == "GET" else b"")

    @pytest.mark.parametrize("accepted", REFUSED)
    async def test_who_refuses_gzip_gets_a_file_in_gzip(self, served: Site, name: str, accepted: str) -> None:
        await self.ask(served, name, None)
        reply = await self.ask(served, name, accepted)
        assert "Content-Encoding" not in reply  # it is not compressed again
        assert reply.body == (FILE if name == "/a.svgz" else NOISE)
        assert (reply.status, reply["Content-Type"], reply["Vary"]) == (200, "application/gzip", "Accept-Encoding")
        assert (await self.ask(served, name, None))["Content-Type"] == TYPE

    async def test_both_have_tags_of_their_own(self, served: Site, name: str) -> None:
        """§8.8.3.3."""
        coded, plain = [(await self.ask(served, name, accepted))["ETag"] for accepted in ("gzip", "identity")]
        assert coded != plain
        for accepted, tag, status in (
            ("gzip", coded, 304), (None, coded, 304), ("gzip", plain, 200), ("identity", plain, 304),
        ):  # fmt: skip
            assert (await self.ask(served, name, accepted, If_None_Match=tag)).status == status

    @pytest.mark.parametrize(
        ("accepted", "media_type"), [("gzip", TYPE), (None, TYPE), ("identity", "application/gzip")]
    )
    async def test_ranges_are_of_the_bytes_that_are_sent(
        self, served: Site, name: str, accepted: str | None, media_type: str
    ) -> None:
        """§14.1.2: of the selected representation, in its coding."""
        content = FILE if name == "/a.svgz" else NOISE
        whole = await self.ask(served, name, accepted)
        part = await self.ask(served, name, accepted, Range="bytes=3-9", If_Range=whole["ETag"])
        assert (part.status, part.body, part["ETag"]) == (206, content[3:10], whole["ETag"])
        assert part["Content-Range"] == f"bytes 3-9/{len(content)}"
        assert part["Content-Type"] == media_type
        assert part.all("Content-Encoding") == whole.all("Content-Encoding")
        parts = await served.ask(name, Range="bytes=0-1,5-6", **({"Accept_Encoding": accepted} if accepted else {}))
        assert parts.status == 206
        assert parts.body.count(f"Content-Type: {media_type}\r\n".encode()) == 2


@pytest.mark.parametrize("name", ["/a.tgz", "/a.json.gz", "/a.svg.gz"])
async def test_other_files_in_gzip_are_of_that_type(served: Site, name: str) -> None:
    """They are to arrive as they are: a client that decodes them saves something else than their name says."""
    reply = await served.ask(name, Accept_Encoding="gzip")
    assert (reply.status, reply["Content-Type"], reply.body) == (200, "application/gzip", FILE)
    assert "Content-Encoding" not in reply
