"""Compiles `error_pages` into middleware: the files are loaded once and kept in memory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from npserver.errors import clip
from npserver.http.media_types import MediaTypes
from npserver.regex import regex
from npserver.runtime.compilation import PerCompilation
from npserver.web.exchange import Middleware

if TYPE_CHECKING:
    from collections.abc import Mapping

    from npserver.config.report import Path, Report
    from npserver.runtime.compilation import Compilation
    from npserver.web.config import HttpRule
    from npserver.web.exchange import Exchange, Page

MAX_ERROR_PAGE_BYTES = 1 << 20  # they are kept in memory


_STATUS = regex(r"[45](?:\d\d|xx)")


class ErrorPages(Middleware):
    """Files that are answered instead of the built-in error pages, by status."""

    def __init__(self, pages: dict[int, Page]) -> None:
        self._pages = pages

    def failure(self, exchange: Exchange, status: int) -> Page | None:
        """Return the page of this status, if there is one."""
        return self._pages.get(status)


#: The global error pages.
GLOBAL_PAGES = PerCompilation(
    lambda compilation: load_error_pages(compilation.report, ("error_pages",), compilation.config.error_pages)
)


def compile_error_pages(compilation: Compilation, path: Path, rule: HttpRule) -> ErrorPages | None:
    """Combine the global error pages and the rule's: the rule's win, and `503` wins over `5xx`."""
    own = load_error_pages(compilation.report, (*path, "error_pages"), rule.error_pages)
    pages = {**GLOBAL_PAGES.of(compilation), **own}
    return ErrorPages(pages) if pages else None


def load_error_pages(report: Report, path: Path, files: Mapping[str, str]) -> dict[int, Page]:
    """Load the files of one `error_pages` section. Errors stand in the report."""
    pages: dict[int, Page] = {}
    for key in sorted(files, key=lambda key: not key.endswith("xx")):
        place = (*path, key)
        if not _STATUS.fullmatch(key):
            report.error(place, f'error page for {clip(key)}: write a status from 400 to 599, "4xx" or "5xx"')
            continue
        page = _load_page(report, place, files[key])
        if page is not None:
            first = int(key.replace("xx", "00"))
            pages.update(dict.fromkeys(range(first, first + 100) if key.endswith("xx") else (first,), page))
    return pages


def _load_page(report: Report, place: Path, name: str) -> Page | None:
    file = report.document.resolve(name)
    try:
        if os.path.getsize(file) > MAX_ERROR_PAGE_BYTES:
            report.error(place, f"error page {clip(name)} is larger than 1 MiB")
            return None
        with open(file, "rb") as source:
            body = source.read()
    except OSError as error:
        report.error(place, f"error page {clip(name)}: {error.strerror}")
        return None
    fields = f"Content-Type: {MediaTypes().of(file)}\r\nCache-Control: no-store\r\n".encode("latin-1")
    return fields, body
