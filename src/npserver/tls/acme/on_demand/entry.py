"""A compiled `on_demand` entry, and which names can have a certificate on demand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from npserver.regex import regex
from npserver.store.files import StoreFiles
from npserver.tls.acme.challenges import ChallengeKind
from npserver.tls.acme.dns.places import Places
from npserver.tls.acme.on_demand.config import OnDemand
from npserver.tls.acme.on_demand.permission import Application
from npserver.tls.acme.settings import AcmeSettings
from npserver.tls.acme.state import Wanted
from npserver.tls.local_names import is_local_name

MAX_NAME = 190  # characters: the name becomes part of a key in the store, whose parts have up to 200

#: Two labels or more (RFC 1123 §2.1); the last one is not a number, so that this is no IPv4 address (RFC 3696 §2).
_NAME = regex(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+(?=[a-z0-9-]*[a-z])[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class Entry(Struct, frozen=True, eq=False):
    """One `on_demand` section."""

    key: str  # of the config, for the log; it tells entries apart
    limits: OnDemand
    application: Application
    settings: tuple[AcmeSettings, ...]  # of the CAs, in order
    kinds: Callable[[str], Sequence[ChallengeKind]]  # the challenges that can work for a name
    places: Callable[[str], Places]  # of the TXT record of a name
    store: StoreFiles
    is_public: bool  # the CA certifies no local names

    def __repr__(self) -> str:
        return f"<Entry {self.key} {self.application.url}>"

    def file(self, name: str) -> str:
        """Return the path of the certificate of a name."""
        return self.store.path(self.wanted(name).certificate_key)

    def wanted(self, name: str) -> Wanted:
        """Return the certificate of a name."""
        return Wanted(name, (name,), self.key)

    def is_possible(self, name: str) -> bool:
        """Whether a server name, in lower case, is one that the CA could certify."""
        if len(name) > MAX_NAME or _NAME.fullmatch(name) is None:
            return False
        return not (self.is_public and is_local_name(name))
