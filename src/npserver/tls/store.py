"""The certificates of a process, kept by their settings across reloads, with SSL contexts shared by all workers.

The keys of session tickets are made with an SSL context. The master loads all certificates before it forks, so that all
workers hold the same keys, and a client can resume its session at any of them. For certificates that come with a reload
it makes spare contexts before the fork, and tells its children which spare is for which certificate.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from msgspec import convert, to_builtins

from npserver.runtime.context import PerProcess
from npserver.tls.config import CertificateSettings
from npserver.tls.files import TlsFiles

if TYPE_CHECKING:
    from npserver.tls.certificates import LoadedCertificate

SPARES = 8  # certificates that reloads can add before workers no longer share their ticket keys; 0.5 ms each to make


class CertificateStore:
    """The loaded certificates of one process, by their settings."""

    __slots__ = ("_places", "_spares", "files", "loaded")

    def __init__(self) -> None:
        self.files = TlsFiles()
        #: The spare context of each certificate. Two never share one: a session of one would be valid for the other.
        self._places: dict[CertificateSettings, int] = {}
        self._spares: dict[int, ssl.SSLContext] = {}
        self.loaded: dict[CertificateSettings, LoadedCertificate] = {}

    def __repr__(self) -> str:
        return f"<CertificateStore {list(self.loaded.values())}>"

    def load(self, settings: CertificateSettings) -> LoadedCertificate:
        """Return the certificate with these settings, from its present files, or from the last ones that were usable.

        Raises: OSError, ssl.SSLError, CertificateError.
        """
        found = self.loaded.get(settings)
        if found is None:
            from npserver.tls.certificates import LoadedCertificate  # only where it is used: a start is shorter without

            place = self._places.setdefault(settings, len(self._places))
            found = self.loaded[settings] = LoadedCertificate(settings, self.files, self._spares.pop(place, None))
        else:
            found.refresh()
        return found

    def make_spares(self) -> None:
        """Make spare contexts; called once by the master before it forks. Without TLS there are none."""
        if self.loaded:
            first = len(self._places)
            self._spares = {first + number: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for number in range(SPARES)}

    def places(self) -> list[tuple[dict[str, Any], int]]:
        """Return the spare of each certificate, for `take_places` in the children."""
        return [(to_builtins(settings), place) for settings, place in self._places.items()]

    def take_places(self, places: Iterable[tuple[dict[str, Any], int]]) -> None:
        """Use the spares that the master has chosen."""
        self._places = {convert(settings, CertificateSettings): place for settings, place in places}

    def refresh(self) -> list[LoadedCertificate]:
        """Load all certificates again whose files have changed, and return these."""
        return [one for one in self.loaded.values() if one.refresh()]


#: The certificates of a process; the children get the master's.
CERTIFICATES = PerProcess(lambda context: CertificateStore())
