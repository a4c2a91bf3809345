"""Whether an open file has changed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


def is_overwritten(file: int, before: os.stat_result) -> bool:
    """Whether an open file's bytes may be others than `before`. One that only grew, as logs do, is as good as ever."""
    now = os.fstat(file)
    return now.st_mtime_ns != before.st_mtime_ns and now.st_size <= before.st_size
