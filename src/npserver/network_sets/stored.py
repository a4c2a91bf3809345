"""The last good list of a URL as the store keeps it: its date in the first line, then one network per line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.network_sets.source import parse_list
from npserver.sources.source import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from npserver.network_sets.source import NetworksSource
    from npserver.networks import Network

_HEAD = b"# "


def encode(networks: Iterable[Network], at: float) -> bytes:
    """Return the value for the store. `at`: when it was fetched, in seconds since 1970."""
    return _HEAD + b"%d\n" % at + "".join([f"{network}\n" for network in networks]).encode("ascii")


def decode(value: bytes, source: NetworksSource) -> tuple[tuple[Network, ...], float] | None:
    """Return the list and its date; None if it is damaged, or more than the config allows now."""
    first = value.partition(b"\n")[0].removeprefix(_HEAD)
    try:
        return parse_list(value, source), float(int(first))
    except (DataError, ValueError):
        return None
