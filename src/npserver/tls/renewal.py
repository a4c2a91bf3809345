"""Renews the certificates of the local authority, in the controller, and has `tls.watch` load them everywhere."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from msgspec import Struct

from npserver.errors import NpserverError, reason_of
from npserver.runtime.context import PerProcess
from npserver.tls.local_authority import LocalAuthority, Wanted
from npserver.tls.states import CertificateStates, Renewal
from npserver.tls.watch import CertificateWatch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from npserver.runtime.context import Context

log = logging.getLogger("npserver.tls")

PERIOD_S = 1.0  # between two looks at the clock, which may be set at any time
PAUSE_S = 10.0  # after an attempt that was no use: it failed, or its root ends so soon that the new one is due as well
TRUSTED_S = 30.0  # how long what was read from the store is taken to be there still

#: The certificates that the log has told of.
_TOLD: PerProcess[set[str]] = PerProcess(lambda context: set())


class Good(Struct, frozen=True):
    """A certificate in the store that need not be renewed."""

    begin: float  # from this time on
    end: float  # until this time
    names: tuple[str, ...]
    trusted_until: float  # in the loop's time: then the store is read again


class LocalRenewal:
    """The service that renews them."""

    __slots__ = ("_authority", "_context", "_failures", "_good", "_next_try", "_states", "_wanted")

    def __init__(
        self,
        context: Context,
        authority: LocalAuthority,
        wanted: Mapping[str, Wanted],
        states: CertificateStates | None = None,
    ) -> None:
        """Create it for the certificates `wanted`, by their keys in the store. It reports to `states`."""
        self._context = context
        self._authority = authority
        self._wanted = wanted
        self._states = states or CertificateStates()
        self._good: dict[str, Good] = {}  # by key
        self._next_try: dict[str, float] = {}  # by key, in the loop's time
        self._failures: dict[str, str] = {}  # the last reason logged, by key

    def __repr__(self) -> str:
        return f"<LocalRenewal {' '.join(self._wanted)}>"

    def describe(self) -> list[str]:
        """Return what is renewed, as text."""
        return [f"certificate of the local authority for {', '.join(one.all_names())}" for one in self._wanted.values()]

    async def run(self) -> None:
        """Run until cancelled."""
        told = _TOLD.of(self._context)
        for key, one in self._wanted.items():
            if key not in told:
                told.add(key)
                names = ", ".join(one.all_names())
                log.info(
                    "certificate of the local authority (tls.internal) for %s; trust it: %s",
                    names, self._authority.command(one.root),
                )  # fmt: skip
        try:
            await self._authority.forget(set(self._wanted), self._context.wall_clock())
        except NpserverError as error:
            log.warning("old certificates of the local authority cannot be removed: %s", reason_of(error))
        while True:
            await self.look()
            await asyncio.sleep(PERIOD_S)

    async def look(self) -> None:
        """Renew each certificate that is due."""
        is_renewed = False
        for key, one in self._wanted.items():
            now, loop_now = self._context.wall_clock(), self._context.loop.time()
            if self._is_good(one, now, loop_now) or loop_now < self._next_try.get(key, loop_now):
                continue
            try:
                if (window := await self._authority.window(one, now)) is None:
                    await self._authority.renew(one, now)
                    is_renewed = True
                    window = await self._authority.window(one, now)
                if window is None:
                    self._next_try[key] = loop_now + PAUSE_S
                else:
                    self._good[key] = Good(*window, one.all_names(), loop_now + TRUSTED_S)
                    self._report(key, window[1])
                self._failures.pop(key, None)
            except (NpserverError, ValueError) as error:
                self._next_try[key] = loop_now + PAUSE_S
                reason = reason_of(error)
                self._report(key, now + PAUSE_S, reason)
                if self._failures.get(key) != reason:
                    self._failures[key] = reason
                    log.warning("certificate for %s not renewed (tls.internal): %s", ", ".join(one.all_names()), reason)
        if is_renewed:
            CertificateWatch(self._context).look()

    def _report(self, key: str, renew_at: float, error: str = "") -> None:
        """Tell the status page how a renewal stands."""
        file = self._authority.place(key)
        before = self._states.renewals.get(file)
        failures = (before.failures if before is not None else 0) + 1 if error else 0
        self._states.report_renewal(file, Renewal(renew_at, failures, error))

    def _is_good(self, wanted: Wanted, now: float, loop_now: float) -> bool:
        """Whether a certificate was found good a short while ago, and neither the clock nor its names say otherwise."""
        good = self._good.get(wanted.key)
        if good is None or loop_now >= good.trusted_until:
            return False
        return good.begin <= now < good.end and good.names == wanted.all_names()
