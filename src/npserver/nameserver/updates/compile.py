"""Compiles `updates` of zones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from npserver.config.report import placed
from npserver.nameserver.transfers.keys import find_key
from npserver.nameserver.updates.policy import Policy, parse_names, parse_types

if TYPE_CHECKING:
    from npserver.config.report import Path, Report
    from npserver.nameserver.config import ZoneUpdates
    from npserver.runtime.compilation import Compilation


def compile_policies(
    compilation: Compilation, path: Path, apex: bytes, sections: Sequence[ZoneUpdates]
) -> list[Policy]:
    """Return the rules of a zone; what is wrong with them is reported."""
    return [_policy(compilation, (*path, index), apex, one) for index, one in enumerate(sections)]


def _policy(compilation: Compilation, path: Path, apex: bytes, section: ZoneUpdates) -> Policy:
    report = compilation.report
    found = [find_key(compilation, place, name) for place, name in placed((*path, "key"), section.key)]
    if not found:
        report.error((*path, "key"), "expected the name of a key, got an empty list: nobody could update the zone")
    names = _valid(report, (*path, "names"), section.names, lambda text: parse_names([text], apex))
    types = _valid(report, (*path, "types"), section.types, lambda text: parse_types([text]))
    keys = frozenset([one.name for one in found if one is not None])
    return Policy(keys, parse_names(names, apex), parse_types(types))


def _valid(report: Report, path: Path, texts: str | list[str], parse: Callable[[str], object]) -> list[str]:
    """Return the texts that can be read; the others are reported."""
    valid = []
    for place, text in placed(path, texts):
        try:
            parse(text)
        except ValueError as error:
            report.error(place, str(error))
        else:
            valid.append(text)
    return valid
