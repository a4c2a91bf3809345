"""Signs the zones of a process with the keys of the moment: puts what signs them into tables, and follows changes.

The day of the clock is part of each signature: when it changes, and when the controller tells of other keys, the
answers made before are dropped. Private keys are read from the store by each process, and are never told.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from npserver.dns.message.name import to_text
from npserver.dns.zone.signing import DAY_S, Signatures, ZoneSigning
from npserver.dns.zone.zone_keys import ZoneKeys
from npserver.errors import StoreError
from npserver.nameserver.dnssec.state import ZoneState, decode, store_key, zone_keys
from npserver.runtime.context import PerProcess
from npserver.runtime.followers import Followers

if TYPE_CHECKING:
    from npserver.dns.zone.tables import Tables
    from npserver.runtime.context import Context
    from npserver.store.files import StoreFiles

log = logging.getLogger("npserver.dns")

TOPIC = "dnssec:versions"  # its values are the versions of the zones' states, by their names


class SignedZone(Struct):
    """How a zone is signed."""

    apex: bytes
    state: ZoneState
    denial: str = "nsec"
    life_days: int = 14
    withdraw: bool = False


class Signer:
    """What signs the zones of one config in a process."""

    __slots__ = ("__weakref__", "_context", "_files", "_followers", "_keys", "_signatures", "_zones", "day")

    def __init__(self, context: Context, files: StoreFiles, zones: Mapping[bytes, SignedZone]) -> None:
        self._context = context
        self._files = files
        self._zones = dict(zones)
        self._keys: dict[bytes, ZoneKeys] = {apex: _keys_of(one) for apex, one in zones.items()}
        self._signatures: dict[tuple[bytes, int], Signatures] = {}  # by apex and index of the view
        self._followers = Followers()
        self.day = self._today()

    def __repr__(self) -> str:
        return f"<Signer of {' '.join(map(to_text, self._zones))}>"

    @property
    def made(self) -> int:
        """How many signatures were made."""
        return sum([one.made for one in self._signatures.values()])

    def attach(self, views: Iterable[Tables]) -> None:
        """Have tables signed; again after each change of the keys or the day."""
        for view, tables in enumerate(views):
            for apex, one in self._zones.items():
                if (zone := tables.zones.get(apex)) is None:
                    continue
                signing = zone.signing
                if not isinstance(signing, ZoneSigning):
                    signatures = self._signatures.setdefault((apex, view), Signatures())
                    signing = zone.signing = ZoneSigning(
                        tables, zone, self._keys[apex], signatures, denial=one.denial, life_days=one.life_days,
                        clock=self._context.loop.time,
                    )  # fmt: skip
                    signing.prepare()  # once, before the workers are forked
                signing.use(self._keys[apex], self.day)

    def follow(self, changed: Callable[[], None]) -> None:
        """Call a method after each change of the keys, as long as its object lives."""
        self._followers.add(changed)
        FOLLOWING.of(self._context).signer = weakref.ref(self)
        self.take(FOLLOWING.of(self._context).versions)

    def is_outdated(self) -> bool:
        """Note the day. Return whether it is another one than before."""
        before, self.day = self.day, self._today()
        return before != self.day

    def take(self, versions: Mapping[str, int]) -> None:
        """Read the keys of zones that the controller tells other versions of."""
        changed = False
        for apex, one in self._zones.items():
            version = versions.get(to_text(apex))
            if version is None or version == one.state.version:
                continue
            try:
                value = self._files.read(store_key(apex))
                if value is None:
                    raise ValueError("they are gone from the store")
                one.state = decode(value)
                self._keys[apex] = _keys_of(one)
            except (StoreError, ValueError) as error:
                log.error("zone %s is signed with the keys of before: %s (dnssec)", to_text(apex), error)
                continue
            changed = True
        if changed:
            self._followers.call()

    def _today(self) -> int:
        return int(self._context.wall_clock() // DAY_S)


class _Following:
    """The subscription of a process to the versions of the zones' states."""

    __slots__ = ("signer", "versions")

    def __init__(self, context: Context) -> None:
        self.signer: Callable[[], Signer | None] = lambda: None
        self.versions: dict[str, int] = {}
        context.pubsub.subscribe(TOPIC, self._take)

    def _take(self, value: Any) -> None:
        self.versions = value
        if (signer := self.signer()) is not None:
            signer.take(value)


#: The subscription of a process.
FOLLOWING = PerProcess(_Following)


def _keys_of(one: SignedZone) -> ZoneKeys:
    return zone_keys(one.apex, one.state, withdraw=one.withdraw)
