"""RFC 9110 on files: methods (§9), content codings (§8.4, §12.5.3), content types (§8.3), over the real server.

Covers `web.handlers.static.handler`.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import brotli
import pytest

from tests.stage.site import Site, site

try:
    from compression import zstd  # type: ignore[import-not-found, unused-ignore]
except ImportError:
    from backports import zstd

TEXT = b"".join(b"line %d of some text that compresses well\n" % number for number in range(2000))
BEFORE_S = 1_700_000_000.5  # of files that are new, Last-Modified follows Date for a second
DECODE: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "br": brotli.decompress,
    "zstd": zstd.decompress,
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = tmp_path / "www"
    directory.mkdir()
    (directory / "large.css").write_bytes(TEXT)
    (directory / "small.css").write_bytes(TEXT[:2000])
    (directory / "tiny.css").write_bytes(b"a{}")
    (directory / "noise.css").write_bytes(os.urandom(4000))
    (directory / "picture.png").write_bytes(TEXT[:5000])
    for file in directory.iterdir():
        os.utime(file, (BEFORE_S, BEFORE_S))
    return directory


@pytest.fixture
async def served(root: Path) -> AsyncIterator[Site]:
    async with site({"handler": "static", "root": str(root)}) as running:
        yield running


class TestMethods:
    """RFC 9110 §9."""

    @pytest.mark.parametrize("path", ["/small.css", "/large.css", "/picture.png"])
    @pytest.mark.parametrize("coding", ["", "gzip"])
    async def test_head_is_get_without_content(self, served: Site, path: str, coding: str) -> None:
        """§9.3.2."""
        get = await served.ask(path, Accept_Encoding=coding)
        head = await served.ask(path, "HEAD", Accept_Encoding=coding)
        assert (head.status, head.body) == (get.status, b"")
        assert [line for line in head.lines if line[0] != "Date"] == [line for line in get.lines if line[0] != "Date"]

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "PROPFIND", "get"])
    async def test_other_methods_are_not_allowed(self, served: Site, method: str) -> None:
        """§15.5.6: a 405 lists the methods allowed."""
        reply = await served.ask("/small.css", method, b"body")
        assert reply.status == 405
        assert reply["Allow"] == "GET, HEAD, OPTIONS"

    async def test_options_lists_the_methods(self, served: Site) -> None:
        """§9.3.7."""
        reply = await served.ask("/small.css", "OPTIONS")
        assert reply.status == 204
        assert reply["Allow"] == "GET, HEAD, OPTIONS"


class TestContentCodings:
    """RFC 9110 §8.4."""

    @pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
    @pytest.mark.parametrize("name", ["small.css", "large.css"])
    async def test_what_is_decoded_is_the_file(self, served: Site, root: Path, coding: str, name: str) -> None:
        for _ in range(3):  # made, then cached
            reply = await served.ask(f"/{name}", Accept_Encoding=coding)
            assert reply["Content-Encoding"] == coding
            assert reply["Vary"] == "Accept-Encoding"
            content = (root / name).read_bytes()
            assert len(reply.body) < len(content)
            assert DECODE[coding](reply.body) == content

    async def test_x_gzip_is_gzip(self, served: Site) -> None:
        """§8.4.1.3."""
        assert (await served.ask("/small.css", Accept_Encoding="x-gzip"))["Content-Encoding"] == "gzip"

    @pytest.mark.parametrize("path", ["/tiny.css", "/picture.png", "/noise.css"])
    async def test_what_does_not_shrink_is_sent_as_it_is(self, served: Site, root: Path, path: str) -> None:
        for _ in range(3):
            reply = await served.ask(path, Accept_Encoding="gzip, br, zstd")
            assert "Content-Encoding" not in reply
            assert reply.body == (root / path[1:]).read_bytes()

    async def test_sizes_bound_what_is_compressed(self, root: Path) -> None:
        rule = {"handler": "static", "root": str(root), "gzip": {"min_size": 1000, "max_size": "3k"}}
        async with site(rule) as running:
            assert "Content-Encoding" in await running.ask("/small.css", Accept_Encoding="gzip")
            assert "Content-Encoding" not in await running.ask("/large.css", Accept_Encoding="gzip")
            assert "Content-Encoding" not in await running.ask("/tiny.css", Accept_Encoding="gzip")

    async def test_gzip_false_compresses_nothing(self, root: Path) -> None:
        rule = {"handler": "static", "root": str(root), "gzip": False}
        async with site(rule) as running:
            reply = await running.ask("/small.css", Accept_Encoding="gzip")
        assert "Content-Encoding" not in reply
        assert "Vary" not in reply

    async def test_the_configured_order_decides(self, root: Path) -> None:
        rule = {"handler": "static", "root": str(root), "gzip": {"codings": ["gzip", "br"]}}
        async with site(rule) as running:
            reply = await running.ask("/small.css", Accept_Encoding="gzip, br, zstd")
            assert reply["Content-Encoding"] == "gzip"
            assert (await running.ask("/small.css", Accept_Encoding="zstd, br"))["Content-Encoding"] == "br"


class TestAcceptEncoding:
    """RFC 9110 §12.5.3."""

    @pytest.mark.parametrize(
        ("accepted", "coding"),
        [("gzip;q=0.5, br;q=0.9", "br"), ("gzip;q=0, br", "br"), ("*", "zstd"), ("*;q=0, gzip", "gzip"),
         ("identity, gzip;q=0.5", None), ("gzip;q=0", None), ("", None), ("deflate", None)],
    )  # fmt: skip
    async def test_weights_choose_the_coding(self, served: Site, accepted: str, coding: str | None) -> None:
        reply = await served.ask("/small.css", Accept_Encoding=accepted)
        assert reply.all("Content-Encoding") == ([coding] if coding else [])
        assert reply["Vary"] == "Accept-Encoding"

    async def test_a_client_that_refuses_identity_gets_a_coding_or_406(self, served: Site) -> None:
        for path in ("/tiny.css", "/noise.css", "/picture.png", "/large.css"):
            reply = await served.ask(path, Accept_Encoding="gzip, identity;q=0")
            assert (reply.status, reply["Content-Encoding"], reply["Vary"]) == (200, "gzip", "Accept-Encoding")
            reply = await served.ask(path, Accept_Encoding="deflate, *;q=0")
            assert (reply.status, reply["Vary"]) == (406, "Accept-Encoding")
            assert "Content-Encoding" not in await served.ask(path)

    async def test_without_the_field_nothing_is_compressed(self, served: Site) -> None:
        assert "Content-Encoding" not in await served.ask("/small.css")


class TestPrecompressedFiles:
    @pytest.fixture
    def prepared(self, root: Path) -> Path:
        for suffix, content in ((".br", b"brotli file"), (".gz", b"gzip file"), (".zst", b"zstd file")):
            (root / f"large.css{suffix}").write_bytes(content)
            (root / f"picture.png{suffix}").write_bytes(content)
        return root

    @pytest.mark.parametrize(
        ("coding", "body"), [("br", b"brotli file"), ("gzip", b"gzip file"), ("zstd", b"zstd file")]
    )
    @pytest.mark.parametrize("path", ["/large.css", "/picture.png"])
    async def test_a_compressed_file_beside_the_plain_one_is_used(
        self, served: Site, prepared: Path, coding: str, body: bytes, path: str
    ) -> None:
        for _ in range(2):
            reply = await served.ask(path, Accept_Encoding=coding)
            assert (reply.body, reply["Content-Encoding"], reply["Vary"]) == (body, coding, "Accept-Encoding")
            assert reply["Content-Type"] in ("text/css; charset=utf-8", "image/png")

    async def test_an_older_one_is_not(self, served: Site, prepared: Path) -> None:
        os.utime(prepared / "large.css.gz", (0, 0))
        reply = await served.ask("/large.css", Accept_Encoding="gzip")
        assert gzip.decompress(reply.body) == TEXT

    async def test_nor_one_that_is_no_file_or_leaves_the_root(self, served: Site, root: Path, tmp_path: Path) -> None:
        (tmp_path / "outside").write_bytes(b"secret")
        (root / "large.css.gz").symlink_to(tmp_path / "outside")
        os.mkfifo(root / "large.css.br")
        assert gzip.decompress((await served.ask("/large.css", Accept_Encoding="gzip")).body) == TEXT
        assert brotli.decompress((await served.ask("/large.css", Accept_Encoding="br")).body) == TEXT

    async def test_large_ones_are_sent_from_the_file(self, served: Site, root: Path) -> None:
        content = os.urandom(200_000)
        (root / "large.css.gz").write_bytes(content)
        for _ in range(2):
            reply = await served.ask("/large.css", Accept_Encoding="gzip")
            assert (reply.body, reply["Content-Encoding"]) == (content, "gzip")
        assert "Content-Encoding" not in await served.ask("/large.css", Accept_Encoding="identity")

    async def test_asked_for_by_name_they_are_files_like_others(self, served: Site, prepared: Path) -> None:
        reply = await served.ask("/large.css.gz", Accept_Encoding="gzip, br")
        assert (reply.body, reply["Content-Type"]) == (b"gzip file", "application/gzip")
        assert "Content-Encoding" not in reply

    async def test_compressed_files_are_not_used_when_switched_off(self, prepared: Path) -> None:
        async with site({"handler": "static", "root": str(prepared), "precompressed": False}) as running:
            assert gzip.decompress((await running.ask("/large.css", Accept_Encoding="gzip")).body) == TEXT


class TestContentType:
    """RFC 9110 §8.3."""

    async def test_text_has_a_charset_and_overrides_win(self, root: Path) -> None:
        (root / "a.foo").write_bytes(b"x")
        rule = {"handler": "static", "root": str(root), "mime": {"foo": "text/x-foo"}}
        async with site(rule, mime={"css": "text/css; charset=iso-8859-1", "foo": "text/y-foo"}) as running:
            assert (await running.ask("/tiny.css"))["Content-Type"] == "text/css; charset=iso-8859-1"
            assert (await running.ask("/a.foo"))["Content-Type"] == "text/x-foo; charset=utf-8"
