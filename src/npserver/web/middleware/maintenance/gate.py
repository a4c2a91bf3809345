"""Keeps clients out while a site is under maintenance: the `maintenance` of a rule."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from npserver.web.exchange import Middleware, Refusal

if TYPE_CHECKING:
    from npserver.http.request import Request
    from npserver.networks import AddressSet
    from npserver.runtime.context import Context
    from npserver.web.exchange import Exchange, Page

log = logging.getLogger("npserver.http")

CHECK_S = 0.5  # how long the last look for the file is trusted


class MaintenanceGate(Middleware):
    """Refuses with 503, always or as long as a file exists.

    Args:
        file: switches maintenance on by existing; empty: it is always on.
        exempt: the clients that pass; None: none.
        page: sent instead of the error page; None: that of `error_pages`, else the built-in one.
        retry_after_s: told to clients; 0: they are told nothing.
        key: the config key of the section, for the log.
    """

    def __init__(
        self, context: Context, file: str, exempt: AddressSet | None, page: Page | None, retry_after_s: int, key: str
    ) -> None:
        self._file = file
        self._exempt = exempt
        self._page = page
        self._key = f"{key}.file" if file else key
        self._sweeper = context.sweeper
        self._slots = context.row.slots
        self._counter = context.row.slot("http.maintenance")
        self._is_on = not file
        self._look_at = 0.0 if file else float("inf")  # when to look for the file again
        fields = b"Retry-After: %d\r\n" % retry_after_s if retry_after_s else b""
        self._refusal = Refusal(503, "the site is under maintenance", self._key, fields)

    def gate(self, client_ip: str, request: Request) -> Refusal | None:
        """Return None to let the client pass, or the refusal: 503."""
        # hot: static-small
        if self._sweeper.now >= self._look_at:
            self._look()
        if not self._is_on or (self._exempt is not None and client_ip in self._exempt):
            return None
        return self._refusal

    def failure(self, exchange: Exchange, status: int) -> Page | None:
        """Return the page of a request that the gate has refused; None for that of `error_pages`."""
        if status != 503 or self.gate(exchange.client_ip, exchange.request) is None:
            return None
        self._slots[self._counter] += 1
        return self._page

    def _look(self) -> None:
        """Look whether the file exists. One that cannot be looked for changes nothing."""
        self._look_at = self._sweeper.now + CHECK_S
        try:
            os.stat(self._file)
            is_on = True
        except (FileNotFoundError, NotADirectoryError):
            is_on = False
        except OSError as error:
            log.warning("cannot look for %s: %s (%s)", self._file, error.strerror, self._key)
            self._look_at = self._sweeper.now + 60  # the line is not repeated with each request
            return
        if is_on is not self._is_on:
            self._is_on = is_on
            log.info("maintenance is %s: %s %s (%s)", "on" if is_on else "off", self._file,
                     "exists" if is_on else "does not exist", self._key)  # fmt: skip
