"""Serials of the zones of the config that secondaries transfer: they rise with each change of the config (RFC 1982).

The store keeps the serial of each zone with a digest of what had it. All processes reckon alike from that, and the
controller keeps what has come out. A zone begins with the serial of its SOA record; without one in the config, that is
made of the content.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from npserver.dns.message.name import parse_owner, to_text
from npserver.dns.zone.content import is_newer, next_serial
from npserver.errors import StoreError
from npserver.nameserver.config import DnsZoneSection
from npserver.nameserver.publish.serials import digests, given_serials, set_serials
from npserver.nameserver.publish.state import Serial
from npserver.nameserver.zones.compile import ZONES
from npserver.runtime.context import PerProcess
from npserver.store.compile import PATH, STORE
from npserver.store.directory import DirectoryStore, finish

if TYPE_CHECKING:
    from npserver.dns.zone.tables import Tables
    from npserver.runtime.compilation import Compilation
    from npserver.runtime.context import Context
    from npserver.store.interface import Store

log = logging.getLogger("npserver.dns")

STORE_KEY = "dns/config_serials"
TOPIC = "dns:config_serials"
_COMPILED = "config serials"

Serials = dict[str, Serial]

#: Those that a process has reckoned last: a reload right after the start comes before the controller tells of them.
_RECKONED: PerProcess[Serials] = PerProcess(lambda context: {})


def compile_serials(compilation: Compilation, views: Sequence[Tables], published: Collection[str]) -> None:
    """Give the zones of the config their serials.

    `published`: the names of those with published names, whose serials `nameserver.publish` keeps.
    """
    compiled = compilation.document.compiled
    serials: Serials | None = compiled.get(_COMPILED)
    if serials is None:
        keys = _transferred(compilation, views, published)
        if not keys:
            return
        serials = _next(compilation, views, keys)
        if serials is None:
            return
        compiled[_COMPILED] = serials
        set_serials(views, {name: one.number for name, one in serials.items()})
    _RECKONED.of(compilation.context).update(serials)
    store = STORE.of(compilation)
    if serials and store is not None:
        compilation.services.append(SerialService(compilation.context, store, serials))


def _transferred(compilation: Compilation, views: Sequence[Tables], published: Collection[str]) -> Collection[bytes]:
    """Return the apexes of the zones that others may transfer, and whose records are in the config alone."""
    config, zones = compilation.config, ZONES.of(compilation)
    allowed: dict[bytes, bool] = {}
    for one in config.dns_zones:
        if isinstance(one, DnsZoneSection) and (one.notify or one.allow_transfer is not None):
            try:
                allowed[parse_owner(one.name).lower()] = bool(one.notify or one.allow_transfer)
            except ValueError:
                continue  # reported where zones are compiled
    is_default = any(getattr(rule, "allow_transfer", None) for rule in config.dispatch)
    keys = {key for tables in views for key in tables.zones if allowed.get(key, is_default)}
    names = {key for key in keys if key not in zones.sources and key not in zones.updated}
    return {key for key in names if to_text(key) not in published}


def _next(compilation: Compilation, views: Sequence[Tables], keys: Collection[bytes]) -> Serials | None:
    """Return the serials of zones, after those that are known; None if the store cannot be read."""
    store = STORE.of(compilation)
    if store is None:
        return None
    told = compilation.context.pubsub.latest.get(TOPIC)
    try:
        if told:
            before = _convert(told)
        else:
            before = {**_decode(finish(_reading(store).get(STORE_KEY))), **_RECKONED.of(compilation.context)}
    except StoreError as error:
        compilation.report.warn(PATH, f"the serials of the zones of the config are not known: {error}")
        return None
    content, given = digests(views, keys), given_serials(views, keys)
    first = {to_text(key): tables.zones[key].serial for tables in reversed(views) for key in keys & tables.zones.keys()}
    after = {name: _after(before.get(name), one, given.get(name), first[name]) for name, one in content.items()}
    return {**before, **after}


def _after(known: Serial | None, digest: int, given: int | None, first: int) -> Serial:
    if known is None:
        return Serial(given or first, digest)
    if known.digest == digest:
        return known
    number = next_serial(known.number)
    if given is not None and is_newer(given, number):
        number = given
    return Serial(number, digest)


def _reading(store: DirectoryStore) -> DirectoryStore:
    return DirectoryStore(store.files, in_threads=False)


def _decode(data: bytes | None) -> Serials:
    """Return what was kept; nothing if that is damaged."""
    try:
        return msgspec.json.decode(data or b"{}", type=Serials)
    except msgspec.MsgspecError:
        return {}


def _convert(message: object) -> Mapping[str, Serial]:
    return msgspec.convert(message, Serials)


class SerialService:
    """Keeps the serials, in the controller."""

    __slots__ = ("_context", "_serials", "_store")

    def __init__(self, context: Context, store: Store, serials: Serials) -> None:
        self._context = context
        self._store = store
        self._serials = serials

    def __repr__(self) -> str:
        return f"<SerialService of {len(self._serials)} zones>"

    async def run(self) -> None:
        """Tell the next config of the serials, and keep them."""
        self._context.pubsub.publish(TOPIC, msgspec.to_builtins(self._serials))
        try:
            if _decode(await self._store.get(STORE_KEY)) != self._serials:
                await self._store.put(STORE_KEY, msgspec.json.encode(self._serials))
        except StoreError as error:
            log.warning("serials of the zones of the config are not kept over a restart (store): %s", error)
