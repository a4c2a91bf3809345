"""Media types of files by name."""

from __future__ import annotations

import pytest

from npserver.http import media_types
from npserver.http.media_types import MediaTypes


@pytest.mark.parametrize(
    ("name", "content_type", "is_compressible"),
    [
        ("/index.html", "text/html; charset=utf-8", True),
        ("/APP.JS", "text/javascript; charset=utf-8", True),
        ("/m.mjs", "text/javascript; charset=utf-8", True),
        ("/a.css", "text/css; charset=utf-8", True),
        ("/a.json", "application/json; charset=utf-8", True),
        ("/a.svg", "image/svg+xml; charset=utf-8", True),
        ("/a.wasm", "application/wasm", True),
        ("/a.webmanifest", "application/manifest+json; charset=utf-8", True),
        ("/a.woff2", "font/woff2", False),
        ("/a.ttf", "font/ttf", True),
        ("/a.png", "image/png", False),
        ("/a.jpeg", "image/jpeg", False),
        ("/a.avif", "image/avif", False),
        ("/favicon.ico", "image/vnd.microsoft.icon", True),
        ("/a.mp4", "video/mp4", False),
        ("/a.ts", "video/mp2t", False),
        ("/a.m3u8", "application/vnd.apple.mpegurl", True),
        ("/a.tar.gz", "application/gzip", False),
        ("/a.zip", "application/zip", False),
        ("/a.pdf", "application/pdf", False),
        ("/a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", False),
        ("/a.unknown", "application/octet-stream", False),
        ("/dir.html/file", "application/octet-stream", False),
        ("/.html", "application/octet-stream", False),
        ("/README", "text/plain; charset=utf-8", True),
        ("/Makefile", "text/plain; charset=utf-8", True),
    ],
)
def test_an_extension_has_its_media_type(name: str, content_type: str, is_compressible: bool) -> None:
    types = MediaTypes()
    assert types.of(name) == content_type
    assert types.is_compressible(content_type) is is_compressible


@pytest.mark.parametrize(
    ("override", "content_type", "coded"),
    [
        ({}, "application/gzip", ("gzip", "image/svg+xml; charset=utf-8")),
        ({"svgz": "image/svg+xml"}, "application/gzip", ("gzip", "image/svg+xml; charset=utf-8")),
        ({".SVGZ": "application/octet-stream"}, "application/octet-stream", None),
    ],
)
def test_svgz_is_svg_in_gzip_unless_it_is_overridden(
    override: dict[str, str], content_type: str, coded: tuple[str, str] | None
) -> None:
    """The registration of image/svg+xml: files named so are compressed with gzip, and sent with Content-Encoding."""
    types = MediaTypes([override])
    assert types.of("/dir/a.SVGZ") == content_type
    assert types.coded("/dir/a.SVGZ") == coded
    for name in ("/a.svg", "/a.tgz", "/a.json.gz", "/a.svg.gz", "/a.svgz/b", "/a", "/"):
        assert types.coded(name) is None


def test_no_extension_is_listed_twice() -> None:
    words = [line.split()[1:] if line[:1] != " " else line.split() for line in media_types._EXTENSIONS.splitlines()]
    extensions = [word for line in words for word in line]
    assert len(extensions) == len(set(extensions))
    assert len(extensions) > 330


def test_later_overrides_take_precedence() -> None:
    types = MediaTypes([{"foo": "text/x-foo", ".HTML": "text/plain; charset=latin-1"}, {"foo": "application/x-foo"}])
    assert types.of("a.foo") == "application/x-foo"
    assert types.of("a.html") == "text/plain; charset=latin-1"


def test_further_types_may_be_compressed() -> None:
    types = MediaTypes(compressed=["application/pdf", "model/*"])
    assert types.is_compressible("application/pdf")
    assert types.is_compressible("model/vnd.usdz+zip")
    assert not types.is_compressible("image/png")
