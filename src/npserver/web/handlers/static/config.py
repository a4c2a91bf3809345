"""The keys of handler `static` and of `file_cache`."""

# ruff: noqa: RUF012 - msgspec copies defaults for each struct

from __future__ import annotations

from typing import Annotated

from npserver.config.section import D, OneOrMany, Section
from npserver.config.units import Seconds, Size
from npserver.web.config import AnswerRule, Compression


class StaticRule(AnswerRule, tag_field="handler", tag="static", frozen=True, kw_only=True):
    """Serve files from a directory."""

    root: Annotated[
        str, D("directory with the files; the rule's path prefix is removed from the request path first")
    ] = "./public"
    index: Annotated[OneOrMany, D("files sent for a directory; the first that exists")] = "index.html"
    browse: Annotated[bool, D("list the content of directories that have no index file")] = False
    fallback: Annotated[
        str | None, D("file below `root` sent with status 200 when nothing is found, for single-page applications")
    ] = None
    try_files: Annotated[
        list[str], D("paths tried in turn; `$path` is the request's; `=404` as the last one answers with that status")
    ] = []
    cache_control: Annotated[str | None, D("value of the Cache-Control header; default: none")] = None
    mime: Annotated[dict[str, str], D("media types by file extension, in addition to the global `mime`")] = {}
    gzip: Annotated[bool | Compression | None, D("compression of this rule's files; default: the global `gzip`")] = None
    precompressed: Annotated[
        bool, D("send `.br`, `.zst` or `.gz` files that lie beside the file to clients that accept them")
    ] = True
    follow_symlinks: Annotated[bool, D("follow symbolic links that lead out of `root`")] = False
    dotfiles: Annotated[bool, D("serve files whose names start with a dot; `.well-known` is always served")] = False


class FileCache(Section, frozen=True, kw_only=True):
    """The in-memory cache of small static files; each worker has its own."""

    max_size: Annotated[Size, D("memory for all cached files", zero="nothing is cached")] = Size(64 << 20)
    max_file_size: Annotated[Size, D("largest file that is cached", zero="none")] = Size(64 << 10)
    check_interval: Annotated[
        Seconds,
        D(
            "how long cached file metadata is trusted before the file is checked again",
            zero="it is checked for each request",
        ),
    ] = Seconds(1)
