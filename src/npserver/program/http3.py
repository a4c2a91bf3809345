"""Adds to each https listener with `http3` a listener for its UDP port, whose front has the same routes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from npserver.address import QUIC

if TYPE_CHECKING:
    from collections.abc import Iterable

    from npserver.listen.listener import Listener
    from npserver.runtime.front import DatagramFront, StreamFront
    from npserver.runtime.scoreboard import Row


def add_http3(listeners: Iterable[Listener], fronts: dict[str, StreamFront | DatagramFront]) -> list[Listener]:
    """Return the listeners of UDP ports, and add their fronts."""
    found = []
    for listener in listeners:
        front = fronts.get(listener.key)
        if not listener.http3 or front is None or listener.server_tls is None:
            continue
        from npserver.listen.quic import endpoint  # noqa: F401 - before the fork, and before the first client
        from npserver.web.server.front import HttpFront
        from npserver.web.server.http3.front import Http3Front  # imported only where it is used

        assert isinstance(front, HttpFront)  # https listeners have no other
        address = replace(listener.address, scheme=QUIC)
        made = replace(listener, key=f"{listener.key} over QUIC", address=address, port_of=listener.key)
        fronts[made.key] = Http3Front(front)
        found.append(made)
    return found


def name_counters(listeners: Iterable[Listener], row: Row) -> None:
    """Give the counters of QUIC their slots if a listener uses it, the same ones in each process."""
    if any(listener.address.scheme == QUIC for listener in listeners):
        from npserver.listen.quic.endpoint import COUNTERS

        for name in COUNTERS:
            row.slot(name)
