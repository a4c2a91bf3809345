"""Loads the files of `error_pages`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from npserver.errors import clip
from npserver.http.media_types import MediaTypes
from npserver.regex import regex

if TYPE_CHECKING:
    from collections.abc import Mapping

    from npserver.config.report import Path, Report

MAX_ERROR_PAGE_BYTES = 1 << 20  # they are kept in memory


_STATUS = regex(r"[45](?:\d\d|xx)")


def load_pages(report: Report, path: Path, files: Mapping[str, str]) -> dict[int, tuple[bytes, bytes]]:
    """Load the files of one `error_pages` section: (fields, body) by status. What is wrong stands in `report`."""
    pages: dict[int, tuple[bytes, bytes]] = {}
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


def _load_page(report: Report, place: Path, name: str) -> tuple[bytes, bytes] | None:
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
