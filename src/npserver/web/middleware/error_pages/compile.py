"""Compiles `error_pages` into middleware: the files are loaded once and kept in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from npserver.errors import clip
from npserver.http.media_types import MediaTypes
from npserver.regex import regex
from npserver.runtime.compilation import PerCompilation
from npserver.web.error_pages import phrase
from npserver.web.escaping import escape_for
from npserver.web.exchange import Middleware
from npserver.web.maps.compile import MAPS
from npserver.web.variables import compile_template

if TYPE_CHECKING:
    from collections.abc import Mapping

    from npserver.config.report import Path, Report
    from npserver.runtime.compilation import Compilation
    from npserver.web.config import HttpRule
    from npserver.web.exchange import Exchange, Page
    from npserver.web.middleware.error_pages.config import ErrorPage
    from npserver.web.variables import Template

MAX_ERROR_PAGE_BYTES = 1 << 20  # they are kept in memory


_STATUS = regex(r"[45](?:\d\d|xx)")


class PageTemplate(Struct, frozen=True):
    """A page with variables."""

    fields: bytes
    template: Template


class ErrorPages(Middleware):
    """Files that are answered instead of the built-in error pages, by status."""

    def __init__(self, pages: dict[int, Page | PageTemplate]) -> None:
        self._pages = pages

    def failure(self, exchange: Exchange, status: int) -> Page | None:
        """Return the page of this status, if there is one."""
        page = self._pages.get(status)
        if isinstance(page, PageTemplate):
            return page.fields, page.template(exchange).encode("utf-8", "replace")
        return page


#: The global error pages.
GLOBAL_PAGES = PerCompilation(
    lambda compilation: load_error_pages(
        compilation.report, ("error_pages",), compilation.config.error_pages, MAPS.of(compilation)
    )
)


def compile_error_pages(compilation: Compilation, path: Path, rule: HttpRule) -> ErrorPages | None:
    """Combine the global error pages and the rule's: the rule's win, and `503` wins over `5xx`."""
    own = load_error_pages(compilation.report, (*path, "error_pages"), rule.error_pages, MAPS.of(compilation))
    pages = {**GLOBAL_PAGES.of(compilation), **own}
    return ErrorPages(pages) if pages else None


def load_error_pages(
    report: Report, path: Path, files: Mapping[str, str | ErrorPage], maps: Mapping[str, Template] | None = None
) -> dict[int, Page | PageTemplate]:
    """Load the files of one `error_pages` section. Errors stand in the report.

    `maps`: variables for the pages that have some, besides those that every config has.
    """
    pages: dict[int, Page | PageTemplate] = {}
    for key in sorted(files, key=lambda key: not key.endswith("xx")):
        place, entry = (*path, key), files[key]
        if not _STATUS.fullmatch(key):
            report.error(place, f'error page for {clip(key)}: write a status from 400 to 599, "4xx" or "5xx"')
            continue
        page = load_page(report, place, entry if isinstance(entry, str) else entry.file)
        if page is None:
            continue
        first = int(key.replace("xx", "00"))
        statuses = range(first, first + 100) if key.endswith("xx") else (first,)
        if isinstance(entry, str) or not entry.variables:
            pages.update(dict.fromkeys(statuses, page))
            continue
        try:
            pages.update({status: _with_variables(page, status, maps or {}) for status in statuses})
        except UnicodeDecodeError:
            report.error(place, f"error page {clip(entry.file)}: a file with variables must be UTF-8")
        except ValueError as error:
            report.error(place, f"error page {clip(entry.file)}: {error}")
    return pages


def _with_variables(page: Page, status: int, maps: Mapping[str, Template]) -> PageTemplate:
    """Return the page of one status. Raises: ValueError."""
    fields, body = page
    own: dict[str, Template] = {"status": lambda _: str(status), "reason": lambda _: phrase(status)}
    content_type = fields.partition(b": ")[2].partition(b"\r\n")[0].decode("latin-1")
    template = compile_template(body.decode("utf-8"), {**maps, **own}, escape_for(content_type))
    return PageTemplate(fields + b"X-Content-Type-Options: nosniff\r\n", template)


def load_page(report: Report, place: Path, name: str) -> Page | None:
    """Load the file of one page; None if it cannot be, which stands in the report."""
    try:
        body = report.document.read(name, MAX_ERROR_PAGE_BYTES)
    except OSError as error:
        report.error(place, f"error page {clip(name)}: {error.strerror}")
        return None
    if len(body) > MAX_ERROR_PAGE_BYTES:
        report.error(place, f"error page {clip(name)} is larger than 1 MiB")
        return None
    fields = f"Content-Type: {MediaTypes().of(name)}\r\nCache-Control: no-store\r\n".encode("latin-1")
    return fields, body
