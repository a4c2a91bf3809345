"""Compiles `allow_transfer`: networks, and keys that requests are signed with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from npserver.config.networks import compile_networks
from npserver.config.report import key_of, placed
from npserver.dns.message.name import parse_owner
from npserver.nameserver.transfers.access import AccessList
from npserver.nameserver.transfers.keys import find_key
from npserver.runtime.compilation import PerCompilation

if TYPE_CHECKING:
    from npserver.config.report import Path
    from npserver.runtime.compilation import Compilation

KEY = "key:"  # before the name of a key, where a network can stand too


def compile_access(compilation: Compilation, path: Path, texts: str | list[str]) -> AccessList:
    """Make the list of `allow_transfer`, or of another key that takes networks and `key:NAME`."""
    named = [(place, text.removeprefix(KEY)) for place, text in placed(path, texts) if text.startswith(KEY)]
    keys = [find_key(compilation, place, name) for place, name in named]
    networks = compile_networks(compilation.report, path, texts, except_prefix=KEY)
    return AccessList(key_of(path), networks, frozenset(key.name for key in keys if key is not None))


def _compile_zones(compilation: Compilation) -> Mapping[bytes, AccessList]:
    found: dict[bytes, AccessList] = {}
    for index, one in enumerate(compilation.config.dns_zones):
        if not isinstance(one, str) and one.allow_transfer is not None:
            access = compile_access(compilation, ("dns_zones", index, "allow_transfer"), one.allow_transfer)
            try:
                found[parse_owner(one.name).lower()] = access
            except ValueError:
                continue  # reported where the zone is compiled
    return found


#: The lists of zones that have their own.
ZONE_ACCESS = PerCompilation(_compile_zones)
