"""Tables of redirects, old path to new URL, of the config or of a CSV file: read by the compiler of the rule."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

from npserver.errors import clip

if TYPE_CHECKING:
    from npserver.config.report import Path, Report

MAX_BYTES = 16 << 20  # of a file: it is kept in memory
MAX_ENTRIES = 100_000

#: An old path, the URL in its place, the status ("" for that of the rule); where they stand, in words and as a path.
Line = tuple[str, str, str, str, "Path"]


def read_table(report: Report, place: Path, moved: dict[str, str] | str) -> Iterator[Line]:
    """Yield the entries of a table. Errors stand in the report."""
    if isinstance(moved, dict):
        for old, new in moved.items():
            yield old, new, "", "'moved'", (*place, old)
        return
    text = _read(report, place, moved)
    rows = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True)
    try:
        for row in rows:
            if not any(row) or row[0].startswith("#"):
                continue
            where = f"'moved': {clip(moved)} line {rows.line_num}"
            if not 2 <= len(row) <= 3:
                report.error(
                    place, f"{where}: expected an old path, a new URL and perhaps a status, with commas between"
                )
                return
            yield row[0].strip(), row[1].strip(), row[2].strip() if len(row) > 2 else "", where, place
    except csv.Error as error:
        report.error(place, f"'moved': {clip(moved)} line {rows.line_num}: {error}")


def _read(report: Report, place: Path, name: str) -> str:
    """Return the text of a file; empty, with an error in the report, if it cannot be read."""
    try:
        content = report.document.read(name, MAX_BYTES)
        if len(content) <= MAX_BYTES:
            return content.decode("utf-8-sig")
        report.error(place, f"'moved': {clip(name)} is larger than 16 MiB")
    except OSError as error:
        report.error(place, f"'moved': {clip(name)}: {error.strerror}")
    except UnicodeDecodeError:
        report.error(place, f"'moved': {clip(name)} is not UTF-8")
    return ""
