"""The keys of handler `static` and of `file_cache`."""

# ruff: noqa: RUF012 - msgspec copies defaults for each struct

from __future__ import annotations

from typing import Annotated

from npserver.config.section import D, OneOrMany, Section
from npserver.config.units import Seconds, Size
from npserver.web.config import AnswerRule, Compression


class StaticRule(AnswerRule, tag_field="handler", tag="static", frozen=True, kw_only=True):
    """Serve files from a directory."""

    root: Annotated[str, D("the directory; the rule's path prefix is taken off first")] = "./public"
    index: Annotated[OneOrMany, D("files tried for a directory")] = "index.html"
    browse: Annotated[bool, D("list directories without an index")] = False
    fallback: Annotated[
        str | None, D("file (below root) answered with 200 where nothing is found: single-page apps")
    ] = None
    try_files: Annotated[list[str], D("paths tried in turn, `$path` is the request's; `=404` ends with a status")] = []
    cache_control: Annotated[str | None, D("Cache-Control header")] = None
    mime: Annotated[dict[str, str], D("media types by extension; beside the global `mime`")] = {}
    gzip: Annotated[bool | Compression | None, D("compression; default: the global `gzip`")] = None
    precompressed: Annotated[bool, D("use `.br .zst .gz` files lying beside the file")] = True
    follow_symlinks: Annotated[bool, D("links that leave root are followed")] = False
    dotfiles: Annotated[bool, D("serve names that start with a dot; `.well-known` is always served")] = False


class FileCache(Section, frozen=True, kw_only=True):
    """The in-memory cache of small static answers, per worker."""

    max_size: Annotated[Size, D("memory for all cached answers, 0 for none")] = Size(64 << 20)
    max_file_size: Annotated[Size, D("largest file kept")] = Size(64 << 10)
    check_interval: Annotated[Seconds, D("how old a look at the file may be")] = Seconds(1)
