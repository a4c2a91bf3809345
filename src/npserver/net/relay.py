"""Two joined transports: what one end receives the other sends, until both are done.

Used by stream forwards (`forward.streams`) and by the proxy's tunnels (`web.handlers.proxy.tunnel`). A relay keeps
half-closes (an end that has sent all may still receive), delivers what is in flight before it closes, passes a reset on
as a reset, and lets each end be read only as fast as the other takes it. Bulk data moves to `net.splice` where the
system has it.

    client ── End ──┐        ┌── End ── target
                    └─ Relay ┘

An established relay's cost per read is `End.data_received`: a count and the other transport's `write`. Silence is
found by looking at the counts from time to time, so that a deadline costs nothing per read.
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

LINGER_S = 2.0  # for a peer to take what was sent last, before its connection is cut
FIRST_LOOK_S = 15.0  # connections that live so long are kept alive: of a shorter one nobody notices
LOOKS = 4  # looks at the counts within the time of silence that ends a relay: it may live a quarter longer

_CAN_SPLICE = can_splice()


class Relay:
    """Two ends. `client.received` and `target.received` are the bytes each has sent us.

    The transports come by `adopt`, or each end is given to the loop as a protocol (`client`, then what `make_target`
    gives); the ends are joined when both are connected.
    """

    client_class: type[End] = End
    target_class: type[End] = End

    __slots__ = ("_idle_since", "_resets", "_seen", "buffer_size", "client", "context", "deadline", "is_joined",
                 "is_lingering", "is_over", "on_end", "preface", "reason", "splices", "target",
                 "timeout_s")  # fmt: skip

    def __init__(
        self,
        context: Context,
        *,
        timeout_s: float,
        buffer_size: int,
        on_end: Callable[[Any], None],
        splices: bool = True,
    ) -> None:
        """Make the ends. `on_end` is called once with the relay, when both transports are gone; `reason` says why."""
        self.context = context
        self.timeout_s = timeout_s
        self.buffer_size = buffer_size
        self.on_end = on_end
        self.splices = splices and _CAN_SPLICE
        self.preface = b""  # sent to the target before all else
        self.reason = ""
        self.is_joined = False
        self.is_lingering = False
        self.is_over = False
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
        """Make the target's end anew: the protocol of the next attempt to connect."""
        self.target = target = self.target_class(self, "target")
        target.other = self.client
        self.client.other = target
        return target

    def adopt(
        self, client: asyncio.Transport, target: asyncio.Transport, early_client: bytes = b"", early_target: bytes = b""
    ) -> None:
        """Take over two connected transports; the early bytes are what their former owners had read too much."""
        for end, transport, early in ((self.client, client, early_client), (self.target, target, early_target)):
            transport.set_protocol(end)
            if early:
                end.data_received(early)
            end.connection_made(transport)
        client.resume_reading()
        target.resume_reading()

    def abort(self, reason: str) -> None:
        """End both sides now. What a peer has not taken yet is lost."""
        self.reason = self.reason or reason
        self.client.abort()
        self.target.abort()

    def expire(self, now: float) -> None:
        """Look whether anything has moved; called by the sweeper."""
        if self.is_lingering:
            for end in (self.client, self.target):
                if end.is_open and self._resets:
                    end.reset()
                else:
                    end.abort()
            return
        client, target = self.client, self.target
        if not self._seen:  # the first look
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
        self.deadline = now + self.timeout_s / LOOKS

    # ── called by the ends ──

    def end_made(self) -> None:
        """An end is connected: once both are, pass on what has come so far, and from now on everything at once."""
        client, target = self.client, self.target
        if not (client.is_open and target.is_open):
            return
        self.is_joined = True
        now = self._idle_since = self.context.loop.time()
        self.deadline = now + min(self.timeout_s / LOOKS, FIRST_LOOK_S)
        self.context.sweeper.watched.add(self)
        if self.preface:
            target.transport.write(self.preface)
        client.join()
        target.join()

    def linger(self, *, resets: bool = False) -> None:
        """One side is gone, the other has a little time to take the last bytes. `resets`: a reset follows them."""
        self.is_lingering = True
        self._resets = resets
        self.deadline = self.context.loop.time() + LINGER_S

    def end_lost(self) -> None:
        """An end's transport is gone."""
        if not (self.client.is_open or self.target.is_open or self.is_over):
            self.is_over = True
            self.context.sweeper.watched.discard(self)
            self.on_end(self)
            self.client.leave()
            self.target.leave()
