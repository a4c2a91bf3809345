"""The certificates of a process, kept by their settings across reloads, and the secrets of their session tickets.

The secrets are the same in all processes, so that a client can resume its session at any worker: children inherit the
master's, and get each new one by `TICKETS_TOPIC`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import convert, to_builtins

from npserver.runtime.context import PerProcess
from npserver.tls.files import TlsFiles
from npserver.tls.ticket_keys import TicketSecrets

if TYPE_CHECKING:
    from npserver.tls.certificates import LoadedCertificate
    from npserver.tls.config import CertificateSettings

TICKETS_TOPIC = "tls:tickets"  # its values are the secrets of session tickets, of `CertificateStore.next_secrets`


class CertificateStore:
    """The loaded certificates of one process, by their settings."""

    __slots__ = ("files", "loaded", "secrets")

    def __init__(self) -> None:
        self.files = TlsFiles()
        self.secrets = TicketSecrets()
        self.loaded: dict[CertificateSettings, LoadedCertificate] = {}

    def __repr__(self) -> str:
        return f"<CertificateStore {list(self.loaded.values())}>"

    def load(self, settings: CertificateSettings) -> LoadedCertificate:
        """Return the certificate with these settings, from its present files, or from the last ones that were usable.

        Raises: OSError, ssl.SSLError, CertificateError, RevocationError.
        """
        found = self.loaded.get(settings)
        if found is None:
            from npserver.tls.certificates import LoadedCertificate  # only where it is used: a start is shorter without

            found = self.loaded[settings] = LoadedCertificate(settings, self.files, self.secrets)
        else:
            found.refresh()
        return found

    def refresh(self) -> list[LoadedCertificate]:
        """Load all certificates again whose files have changed, and return these."""
        return [one for one in self.loaded.values() if one.refresh()]

    def next_secrets(self, now: float) -> dict[str, Any] | None:
        """Return the secrets to publish, as JSON can express them; None if the present ones are not old enough."""
        found: dict[str, Any] = to_builtins(self.secrets.successor(now))
        return found if self.secrets.is_due(now) else None

    def take_secrets(self, value: dict[str, Any]) -> None:
        """Use the secrets that the controller has published."""
        secrets = convert(value, TicketSecrets)
        if secrets != self.secrets:
            self.secrets = secrets
            for one in self.loaded.values():
                one.set_ticket_keys(secrets, is_renewal=True)


#: The certificates of a process; the children get the master's.
CERTIFICATES = PerProcess(lambda context: CertificateStore())
