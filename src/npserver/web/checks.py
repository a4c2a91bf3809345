"""What several compilers check the same way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.regex import regex

if TYPE_CHECKING:
    pass

CONTROL = regex(r"[\x00-\x1f\x7f]")
