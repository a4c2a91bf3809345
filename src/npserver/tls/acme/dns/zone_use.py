"""Finds the zones in `dns_update` that no name needs, such as misspelt ones: certificates may come without them.

The names of all listeners count that use an entry, so that the warnings come once all have their certificates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.config.report import placed
from npserver.errors import clip
from npserver.runtime.compilation import PerCompilation

if TYPE_CHECKING:
    from collections.abc import Iterable

    from npserver.config.report import Path
    from npserver.runtime.compilation import Compilation
    from npserver.tls.acme.config import Acme
    from npserver.tls.acme.dns.places import Places


class ZoneUse:
    """A zone of the config, and what was asked of it."""

    __slots__ = ("is_used", "stranger")

    def __init__(self) -> None:
        self.is_used = False
        self.stranger = ""  # a name whose TXT record lies in none of the zones

    def __repr__(self) -> str:
        return f"<ZoneUse {self.is_used} {self.stranger}>"


def note_zones(compilation: Compilation, path: Path, acme: Acme, found: Iterable[tuple[str, Places]]) -> None:
    """Note which zones the names of an entry need. `path` is that of `acme`; `found`: each name with its places.

    Nothing is noted where names come on demand, or where the challenge dns is excluded, which is warned of.
    """
    if acme.dns_update is None or acme.on_demand is not None or (acme.challenge and "dns" not in acme.challenge):
        return
    texts = placed((*path, "dns_update", "zone"), acme.dns_update.zone)
    uses = [_USES.of(compilation).setdefault(where, (text, ZoneUse()))[1] for where, text in texts]
    for name, places in found:
        for server, end in places.updates:
            uses[server.zones.index(server.zone_of(end) or "")].is_used = True
        if places.record and not places.updates:
            for use in uses:
                use.stranger = use.stranger or places.alias or name


def warn_of_unused_zones(compilation: Compilation) -> None:
    """Warn of the zones that no name needs."""
    for where, (text, use) in _USES.of(compilation).items():
        if not use.is_used:
            remedy = f"write the zone that holds {clip(use.stranger)}" if use.stranger else "leave it out"
            compilation.report.warn(where, f"'zone': no name to certify lies in {clip(text)}: {remedy}")


#: The zones of all entries, by their paths in the config.
_USES: PerCompilation[dict[Path, tuple[str, ZoneUse]]] = PerCompilation(lambda _: {})
