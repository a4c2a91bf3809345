"""Checks and names that several compilers of HTTP rules share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.regex import regex

if TYPE_CHECKING:
    from npserver.config.report import Path

CONTROL = regex(r"[\x00-\x1f\x7f]")


def rule_key(path: Path) -> str:
    """Return the config key of a rule, as log lines write it: `dispatch[3]`."""
    return f"{path[0]}[{path[1]}]" if len(path) > 1 else str(path[0])
