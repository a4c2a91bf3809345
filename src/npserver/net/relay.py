"""A relay between two transports: data received from one is sent to the other, until both have closed.

Used by stream forwards (`forward.streams`) and by the proxy's tunnels (`web.handlers.proxy.tunnel`). A relay keeps
half-closed connections, delivers buffered data before it closes, passes a reset on as a reset, and reads from each peer
only as fast as the other accepts data. Bulk data moves through `net.splice` where the system has it.

    client ── End ──┐        ┌── End ── target
                    └─ Relay ┘

A read costs `End.data_received`: a count, and the other transport's `write`. The timeout is found by comparing the
counts from time to time, so that it costs nothing per read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from npserver.net.dialer import keep_alive
from npserver.net.relay_end import End
from npserver.net.splice import can_splice

if TYPE_CHECKING:
    from npserver.runtime.context import Context

LINGER_S = 2.0  # for a peer to read the last data before its connection is closed
FIRST_CHECK_S = 15.0  # connections that last longer get SO_KEEPALIVE; shorter ones need none
CHECKS = 4  # comparisons of the counts per timeout: a relay may last a quarter longer

_CAN_SPLICE = can_splice()


class Relay:
    """A relay. `client.received` and `target.received` count the bytes received from each peer.

    The transports are passed to `adopt`; or the ends are used as protocols of new connections (`client`, and the result
    of `make_target`). The ends are joined when both are connected.
    """

    client_class: type[End] = End
    target_class: type[End] = End

    __slots__ = ("_idle_since", "_resets", "_seen", "buffer_size", "client", "context", "deadline", "is_joined",
                 "is_lingering", "is_over", "on_end", "preface", "reason", "splices", "target",
                 "timeout_s", "tunnel_target")  # fmt: skip

    def __init__(
        self,
        context: Context,
        *,
        timeout_s: float,
        buffer_size: int,
        on_end: Callable[[Any], None],
        splices: bool = True,
    ) -> None:
        """Create both ends. `on_end` is called once with the relay, when both are closed; `reason` says why."""
        self.context = context
        self.timeout_s = timeout_s
        self.buffer_size = buffer_size
        self.on_end = on_end
        self.splices = splices and _CAN_SPLICE
        self.preface = b""  # sent to the target first
        self.reason = ""
        self.is_joined = False
        self.is_lingering = False
        self.is_over = False
        self.tunnel_target: object = None  # of a tunnel, the target that it leads to
        self.deadline = float("inf")
        self._idle_since = 0.0
        self._resets = False
        self._seen: tuple[int, ...] = ()
        self.client = client = self.client_class(self, "client")
        self.target = target = self.target_class(self, "target")
        client.other = target
        target.other = client

    def __repr__(self) -> str:
        return f"<Relay {self.client!r} {self.target!r} {self.reason or 'open'}>"

    def make_target(self) -> End:
        """Return a new end for the target: the protocol of the next attempt to connect."""
        self.target.leave()
        self.target = target = self.target_class(self, "target")
        target.other = self.client
        self.client.other = target
        return target

    def adopt(
        self, client: asyncio.Transport, target: asyncio.Transport, early_client: bytes = b"", early_target: bytes = b""
    ) -> None:
        """Use two connected transports. `early_client` and `early_target`: data that former protocols had read."""
        for end, transport, early in ((self.client, client, early_client), (self.target, target, early_target)):
            transport.set_protocol(end)
            if early:
                end.data_received(early)
            end.connection_made(transport)
        client.resume_reading()
        target.resume_reading()

    def abort(self, reason: str) -> None:
        """Close both connections immediately, dropping buffered data."""
        self.reason = self.reason or reason
        self.client.abort()
        self.target.abort()

    def expire(self, now: float) -> None:
        """Called by the deadline sweeper: close the relay if no data has moved for `timeout_s`."""
        if self.is_lingering:
            for end in (self.client, self.target):
                if end.is_open and self._resets:
                    end.reset()
                else:
                    end.abort()
            return
        client, target = self.client, self.target
        if not self._seen:  # the first check
            for end in (client, target):
                if end.is_open:
                    keep_alive(end.transport)
        seen = (client.received, target.received, client.pending_bytes(), target.pending_bytes())
        if seen != self._seen:
            self._seen = seen
            self._idle_since = now
        elif now - self._idle_since >= self.timeout_s - 0.001:
            self.reason = self.reason or "timeout"
            for end in (client, target):
                if end.pending_bytes():
                    end.abort()
                else:
                    end.close()
        else:
            client.stop_splicing()
            target.stop_splicing()
        self.deadline = now + self.timeout_s / CHECKS

    # ── called by the ends ──

    def end_made(self) -> None:
        """Called when an end is connected. Once both are, pass on the data held so far, and join them."""
        client, target = self.client, self.target
        if not (client.is_open and target.is_open):
            return
        self.is_joined = True
        now = self._idle_since = self.context.loop.time()
        self.deadline = now + min(self.timeout_s / CHECKS, FIRST_CHECK_S)
        self.context.sweeper.watched.add(self)
        if self.preface:
            target.transport.write(self.preface)
        client.join()
        target.join()

    def linger(self, *, resets: bool = False) -> None:
        """Give the remaining peer time to read the last data. `resets`: its connection is then reset."""
        self.is_lingering = True
        self._resets = resets
        self.deadline = self.context.loop.time() + LINGER_S

    def end_lost(self) -> None:
        """Called when an end's transport is closed."""
        if not (self.client.is_open or self.target.is_open or self.is_over):
            self.is_over = True
            self.context.sweeper.watched.discard(self)
            self.on_end(self)
            self.client.leave()
            self.target.leave()
