"""Uses renewed certificates without a restart: the controller watches the files, and every process loads them again.

Open connections keep their certificate; new connections get the new one. The controller also replaces the secrets of
session tickets, in all processes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from npserver.errors import clip
from npserver.runtime.context import PerProcess
from npserver.tls.store import CERTIFICATES, TICKETS_TOPIC, CertificateStore

if TYPE_CHECKING:
    from npserver.runtime.context import Context
    from npserver.tls.certificates import LoadedCertificate
    from npserver.tls.revocation import RevocationList

log = logging.getLogger("npserver.tls")

TOPIC = "tls:changed"  # its values are lists of certificate paths; each has all certificates looked at
PERIOD_S = 2.0  # between two checks of the files


class CertificateWatch:
    """The service that watches the files, in the controller."""

    __slots__ = ("_context", "_looked_at", "_store")

    def __init__(self, context: Context) -> None:
        self._context = context
        self._looked_at = self._now()
        self._store: CertificateStore = CERTIFICATES.of(context)
        FOLLOWING.of(context)

    def __repr__(self) -> str:
        return f"<CertificateWatch {self._store}>"

    async def run(self) -> None:
        """Run until cancelled."""
        self.look()
        self._context.pubsub.publish(TOPIC, [])  # a controller that died may have told nobody of a change
        while True:
            await asyncio.sleep(PERIOD_S)
            self.look()

    def look(self) -> None:
        """Load the certificates whose files have changed, log it, and tell all processes. See to what is due by time.

        The secrets of session tickets are replaced daily. A revocation list that expires changes nothing in its file:
        the log says so when the time has come.
        """
        files = self._store.files
        changed = [one for one in self._store.refresh() if not files.is_supplied(one.settings.cert)]
        # https and ssl listeners load a file separately, and again where it is used together with another one
        by_file = {one.changed_file: one for one in changed if not one.settings.alternatives}
        for one in by_file.values():
            announce(one)
        if changed:
            self._context.pubsub.publish(TOPIC, [one.settings.cert for one in changed])
        if (secrets := self._store.next_secrets(self._context.wall_clock())) is not None:
            self._context.pubsub.publish(TICKETS_TOPIC, secrets)
            log.info("session ticket keys replaced; tickets of the previous keys are accepted until the next change")
        now, before = self._now(), self._looked_at
        self._looked_at = now
        for file, found in {pair for one in self._store.loaded.values() for pair in one.revocation_lists}:
            if found.next_update is not None and before < found.next_update <= now:
                warn_of_expired(file, found)
            elif found.notice_at is not None and before < found.notice_at <= now:
                log.warning("%s expires on %s: from then on %s (client_crl)", file, found.next_update, _refused(found))

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._context.wall_clock(), UTC)


def _follow(context: Context) -> Callable[[], None]:
    store = CERTIFICATES.of(context)

    def refresh(value: Any) -> None:
        store.refresh()

    context.pubsub.subscribe(TICKETS_TOPIC, store.take_secrets)
    return context.pubsub.subscribe(TOPIC, refresh)


#: The subscriptions of a process, which loads certificates again and takes new secrets when the controller says so.
FOLLOWING = PerProcess(_follow)


def announce(changed: LoadedCertificate) -> None:
    """Log the result of loading a certificate whose files have changed."""
    if changed.problem:
        log.warning("%s changed but cannot be used, the old one stays: %s", changed.changed_file, changed.problem)
    else:
        until = changed.certificate.not_after
        if changed.changed_file in changed.settings.client_crl:
            until = min(
                [found.next_update or datetime.max.replace(tzinfo=UTC) for _, found in changed.revocation_lists]
            )
        log.info("%s changed and was loaded, valid until %s", changed.changed_file, until)
        for file, found in changed.revocation_lists:
            if found.next_update is not None and found.next_update <= datetime.now(UTC):
                warn_of_expired(file, found)


def warn_of_expired(file: str, found: RevocationList) -> None:
    """Log that a revocation list has expired."""
    log.warning(
        "%s expired on %s: %s until its successor is there (client_crl)", file, found.next_update, _refused(found)
    )


def _refused(found: RevocationList) -> str:
    return f"all clients of {clip(found.issuer)} are refused"
