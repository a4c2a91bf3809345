"""Uses renewed certificates without a restart: the controller watches the files, and every process loads them again.

Open connections keep their certificate; new connections get the new one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from npserver.runtime.context import PerProcess
from npserver.tls.store import CERTIFICATES, CertificateStore

if TYPE_CHECKING:
    from npserver.runtime.context import Context
    from npserver.tls.certificates import LoadedCertificate

log = logging.getLogger("npserver.tls")

TOPIC = "tls:changed"  # its values are lists of certificate paths
PERIOD_S = 2.0  # between two checks of the files


class CertificateWatch:
    """The service that watches the files, in the controller."""

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
        """Load the certificates whose files have changed, log it, and tell all processes."""
        files = self._store.files
        changed = [one for one in self._store.refresh() if not files.is_supplied(one.settings.cert)]
        # https and ssl listeners load a file separately, and again where it is used together with another one
        by_file = {one.settings.cert: one for one in changed if not one.settings.alternatives}
        for one in by_file.values():
            announce(one)
        if changed:
            self._context.pubsub.publish(TOPIC, [one.settings.cert for one in changed])


def _follow(context: Context) -> Callable[[], None]:
    store = CERTIFICATES.of(context)

    def refresh(value: Any) -> None:
        store.refresh()

    return context.pubsub.subscribe(TOPIC, refresh)


#: The subscription of a process, which loads certificates again when the controller publishes a change.
FOLLOWING = PerProcess(_follow)


def announce(changed: LoadedCertificate) -> None:
    """Log the result of loading a certificate whose files have changed."""
    if changed.problem:
        log.warning("%s changed but cannot be used, the old one stays: %s", changed.settings.cert, changed.problem)
    else:
        log.info("%s changed and was loaded, valid until %s", changed.settings.cert, changed.certificate.not_after)
