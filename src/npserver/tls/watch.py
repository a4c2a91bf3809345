"""Picks up renewed certificates without a restart: the controller watches the files, every process loads them.

Connections that are open keep what they began with; each new one gets the new certificate.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from npserver.runtime.context import PerProcess
from npserver.tls.certificates import CERTIFICATES, CertificateStore

if TYPE_CHECKING:
    from npserver.runtime.context import Context
    from npserver.tls.certificates import Identity

log = logging.getLogger("npserver.tls")

TOPIC = "tls:changed"  # published with the certificates' paths
PERIOD_S = 2.0  # how often the files are looked at


class CertificateWatch:
    """The controller's service."""

    __slots__ = ("_context", "_store")

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store: CertificateStore = CERTIFICATES.of(context)

    def __repr__(self) -> str:
        return f"<CertificateWatch {self._store}>"

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            await asyncio.sleep(PERIOD_S)
            self.look()

    def look(self) -> None:
        """Load what has changed, say so, and tell all processes."""
        files = self._store.files
        changed = [one for one in self._store.refresh() if not files.is_supplied(one.settings.cert)]
        for identity in {one.settings.cert: one for one in changed}.values():  # one for HTTPS may be one for TLS too
            announce(identity)
        if changed:
            self._context.pubsub.publish(TOPIC, [identity.settings.cert for identity in changed])


def _follow(context: Context) -> Callable[[], None]:
    store = CERTIFICATES.of(context)

    def refresh(value: Any) -> None:
        store.refresh()

    return context.pubsub.subscribe(TOPIC, refresh)


#: The subscription by which a process loads certificates when the controller says that they have changed.
FOLLOWING = PerProcess(_follow)


def announce(identity: Identity) -> None:
    """Log that a certificate's files have changed, and what came of it."""
    if identity.problem:
        log.warning("%s changed but cannot be used, the old one stays: %s", identity.settings.cert, identity.problem)
    else:
        log.info("%s loaded anew, valid until %s", identity.settings.cert, identity.certificate.not_after)
