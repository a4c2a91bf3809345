"""Watches the answers of rules for networks that learn from `scan`: 404 and 400 are what scanners get."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.network_sets.events import LEARNING
from npserver.web.exchange import Middleware

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.runtime.compilation import Compilation
    from npserver.web.exchange import Exchange

SCANNED = frozenset({400, 404})


class ScanWatch(Middleware):
    """Tells of each answer with such a status, whoever made it."""

    def __init__(self, on_scan: Callable[[str], None]) -> None:
        self._on_scan = on_scan

    def request(self, exchange: Exchange) -> None:
        """Let the request pass, and look at its answer."""

        def ended() -> None:
            if exchange.status in SCANNED:
                self._on_scan(exchange.client_ip)

        exchange.watch_end(ended)
        exchange.proceed()


def scan_watch(compilation: Compilation) -> tuple[Middleware, ...]:
    """Return the watch, to stand before all that may answer a request; nothing if no network learns from scans."""
    on_scan = LEARNING.of(compilation).hook("scan")
    return (ScanWatch(on_scan),) if on_scan is not None else ()
