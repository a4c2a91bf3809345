"""The certificates of a listener with `on_demand`: those of the config, and those that are in the store on demand.

A certificate is loaded when a handshake first needs it, and the least recently used leave memory. Those that the store
has need no controller: neither a flood of other names nor its end keeps them from being served.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from npserver.errors import StoreError
from npserver.runtime.context import PerProcess
from npserver.tls.acme.on_demand.counts import COUNTS
from npserver.tls.acme.on_demand.names import is_issued, read_entries
from npserver.tls.acme.on_demand.waits import WAITS
from npserver.tls.certificates import LoadedCertificate, ServerTls, explain
from npserver.tls.store import CERTIFICATES, TICKETS_TOPIC
from npserver.tls.watch import TOPIC

if TYPE_CHECKING:
    from npserver.runtime.context import Context
    from npserver.tls.acme.on_demand.entry import Entry
    from npserver.tls.certificates import Waiter
    from npserver.tls.config import CertificateSettings


class LoadedOnDemand:
    """The certificates on demand in the memory of one process, over reloads; the least recently used is the first."""

    __slots__ = ("_clock", "_counts", "_loaded", "_store")

    def __init__(self, context: Context) -> None:
        self._clock = context.wall_clock
        self._counts = COUNTS.of(context)
        self._store = CERTIFICATES.of(context)
        self._loaded: OrderedDict[tuple[str, CertificateSettings], LoadedCertificate] = OrderedDict()
        context.pubsub.subscribe(TOPIC, self._refresh)
        context.pubsub.subscribe(TICKETS_TOPIC, self._take_secrets)

    def __repr__(self) -> str:
        return f"<LoadedOnDemand {len(self._loaded)}>"

    def get(self, name: str, template: CertificateSettings) -> LoadedCertificate | None:
        """Return the certificate of a name with these settings; None if it is not in memory, or has expired."""
        found = self._loaded.get((name, template))
        if found is None:
            return None
        if found.certificate.not_after.timestamp() <= self._clock():
            del self._loaded[name, template]  # it was not renewed; perhaps there will be another one
            return None
        self._loaded.move_to_end((name, template))
        return found

    def load(self, name: str, template: CertificateSettings, file: str, most: int) -> LoadedCertificate | None:
        """Load a certificate with its key from a file; None if it cannot be used, or has expired."""
        if (found := self.get(name, template)) is not None:
            return found
        try:
            found = LoadedCertificate(replace(template, cert=file, key=file), self._store.files, self._store.secrets)
        except (OSError, ValueError) as error:
            self._counts.complain("store", "no certificate for %s: %s cannot be used: %s", name, file, explain(error))
            return None
        if found.certificate.not_after.timestamp() <= self._clock():
            return None
        while len(self._loaded) >= most:
            _, old = self._loaded.popitem(last=False)
            self._store.files.used.discard(old.settings.cert)
        self._loaded[name, template] = found
        return found

    def _refresh(self, files: list[str]) -> None:
        changed = set(files)
        for one in self._loaded.values():
            if one.settings.cert in changed:
                one.refresh()

    def _take_secrets(self, value: dict[str, Any]) -> None:
        self._store.take_secrets(value)
        for one in self._loaded.values():
            one.set_ticket_keys(self._store.secrets, is_renewal=True)


#: The certificates on demand of a process.
LOADED = PerProcess(LoadedOnDemand)


class OnDemandTls(ServerTls):
    """The certificates of one listener."""

    __slots__ = ("_counts", "_entry", "_loaded", "_template", "_waits")

    def __init__(
        self,
        certificates: Iterable[tuple[LoadedCertificate, Iterable[str]]],
        keys: Mapping[CertificateSettings, str],
        context: Context,
        entry: Entry,
        template: CertificateSettings,
    ) -> None:
        """Create it. `template`: the settings of certificates on demand, but for their files."""
        super().__init__(certificates, keys)
        self._entry = entry
        self._template = replace(template, cert="", key="", alternatives=())
        self._counts = COUNTS.of(context)
        self._waits = WAITS.of(context)
        self._loaded = LOADED.of(context)
        self.wait_s = entry.limits.wait

    def choose(self, name: str) -> LoadedCertificate | None:
        """Return the certificate of a server name or the default; None if the handshake should wait for it."""
        found = self._find(name)
        if found is not None:
            return found
        if not self._waits.may_have(self._entry, name):
            return self.default
        if (found := self._load_kept(name)) is not None:
            return found
        return None if self._waits.has_room(self._entry, name) else self.default

    def present(self, name: str) -> LoadedCertificate:
        """Return the certificate of a server name that is in memory, else the default."""
        return self._find(name) or self.default

    def load(self, name: str) -> LoadedCertificate:
        """Return the certificate of a server name that the controller says is there, else the default."""
        if (found := self._find(name)) is not None:
            return found
        return self._load(name) or self.default

    def wait(self, name: str, waiter: Waiter, address: str) -> None:
        """Have a handshake wait for the certificate of a name. `address`: the client's."""
        self._waits.add(self._entry, name, waiter, address)

    def stop_waiting(self, name: str, waiter: Waiter, *, is_late: bool) -> str:
        """Forget a handshake that waits. Return the config key of the time that it may wait."""
        self._waits.remove(self._entry, name, waiter, is_late=is_late)
        return f"{self._entry.key}.wait"

    def _find(self, name: str) -> LoadedCertificate | None:
        found = self._by_name.get(name) or self._wildcards.get(name.partition(".")[2])
        return found if found is not None else self._loaded.get(name, self._template)

    def _load_kept(self, name: str) -> LoadedCertificate | None:
        """Return the certificate of a name that was issued before."""
        entry = self._entry
        try:
            is_there = entry.key in read_entries(entry.store.read, name) and is_issued(
                entry.store.read, entry.wanted(name)
            )
            return self._load(name) if is_there else None
        except StoreError as error:
            self._counts.complain("store", "no certificate for %s: %s", name, error)
            return None

    def _load(self, name: str) -> LoadedCertificate | None:
        entry = self._entry
        return self._loaded.load(name, self._template, entry.file(name), entry.limits.max_loaded)

    def _key_of(self, settings: CertificateSettings) -> str:
        """Return the config key of a certificate."""
        own = self._keys.get(replace(settings, alternatives=()))
        return own if own is not None else self._entry.key.removesuffix(".acme.on_demand")
