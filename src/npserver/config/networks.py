"""Convert network names and CIDR texts of the config to `networks.Networks`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.config.report import placed
from npserver.errors import clip
from npserver.guess import get_close_matches
from npserver.networks import UNIX_PEER, ChangingNetworks, Network, Networks, parse_network

if TYPE_CHECKING:
    from npserver.config.report import Path, Report
    from npserver.network_sets.config import NetworkSource


def compile_networks(
    report: Report, path: Path, names: str | list[str], *, except_prefix: str | None = None
) -> Networks | None:
    """Make the set of all networks in `names`: names from `networks`, or CIDR texts. None when none is named.

    What is wrong stands in `report` at `path` (or its item); the rest is used. Texts that begin with `except_prefix`
    are no networks.
    """
    places = [one for one in placed(path, names) if except_prefix is None or not one[1].startswith(except_prefix)]
    if not names or not places:
        return None
    found: list[Network] = []
    for place, name in places:
        if name != UNIX_PEER:
            found += _named(report, place, name)
    known = report.document.config.networks
    has_unix = any(name == UNIX_PEER or UNIX_PEER in _texts(known.get(name, [])) for _, name in places)
    sets = [report.network_sets[name] for _, name in places if name in report.network_sets]
    report.unused_learnt.difference_update(one.name for one in sets)
    return ChangingNetworks(found, sets, has_unix=has_unix) if sets else Networks(found, has_unix=has_unix)


def warn_of_banned(report: Report, path: Path, names: str | list[str]) -> None:
    """Warn of networks that learn in `allow`, which would let in those who are banned, and nobody else."""
    for place, name in placed(path, names):
        if getattr(report.document.config.networks.get(name), "learn", None) is not None:
            report.warn(place, f"{clip(name)} has the clients that are banned, nobody else is let in: use 'deny'")


def check_networks(report: Report) -> None:
    """Report every text under `networks` that is not a network, used or not, and names that are no names."""
    for name, texts in report.document.config.networks.items():
        if not name or name == UNIX_PEER or _parsed(name) is not None:
            report.error(("networks", name), f"a name must not be empty or an address, got {clip(name)}")
        for index, text in enumerate(_texts(texts)):
            if text == UNIX_PEER:
                continue
            try:
                parse_network(text)
            except ValueError as error:
                report.error(("networks", name, index), f"network {clip(text)}: {error}")


def _named(report: Report, path: Path, name: str) -> list[Network]:
    known = report.document.config.networks
    if name in known:
        return [network for text in _texts(known[name]) if (network := _parsed(text)) is not None]
    try:
        return [parse_network(name)]
    except ValueError as error:
        if _looks_like_address(name):
            report.error(path, f"network {clip(name)}: {error}")
        else:
            close = get_close_matches(name, known, 1)
            hint = f", did you mean {close[0]!r}?" if close else "" if known else ' (no "networks" are defined)'
            report.error(path, f"unknown network {clip(name)}{hint}")
    return []


def _texts(entry: list[str] | NetworkSource) -> list[str]:
    """Return the networks that the config itself has."""
    return entry if isinstance(entry, list) else []


def _parsed(text: str) -> Network | None:
    try:
        return parse_network(text)
    except ValueError:
        return None  # `check_networks` reports it once, where it stands


def _looks_like_address(text: str) -> bool:
    return ":" in text or "/" in text or text.replace(".", "").isdigit()
