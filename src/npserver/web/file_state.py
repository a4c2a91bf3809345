"""Detection of changes to a file while it is sent."""

from __future__ import annotations

import os


def is_overwritten(file: int, before: os.stat_result) -> bool:
    """Return whether an open file was changed since `before`, other than by appending to it, as to a log."""
    now = os.fstat(file)
    return now.st_mtime_ns != before.st_mtime_ns and now.st_size <= before.st_size
