"""Checks and names that several compilers of HTTP rules share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.config.report import key_of
from npserver.regex import regex

if TYPE_CHECKING:
    from npserver.config.report import Path

CONTROL = regex(r"[\x00-\x1f\x7f]")


def rule_key(path: Path, *names: str) -> str:
    """Return the config key of a rule, or of a key in it, as log lines write it: `dispatch[3]`, `dispatch[3].allow`.

    The default rule of a listener has no keys of its own: all is decided by `root`.
    """
    return key_of((*path, *names) if len(path) > 1 else path)
