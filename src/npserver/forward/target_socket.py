"""The connected datagram socket of one forward session.

It connects to the first target that can be reached, and to the next one when a target refuses datagrams. Used by all
forwards to datagram targets (`forward.messages`, `forward.target_connections`).
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from npserver.errors import UpstreamError
from npserver.forward.session import endpoint
from npserver.net.datagram_link import DatagramLink, connect, connect_now
from npserver.net.dialer import explain
from npserver.runtime.tasks import spawn

if TYPE_CHECKING:
    from npserver.address import Address
    from npserver.forward.session import Session

log = logging.getLogger("npserver.forward")


class TargetSocket:
    """The socket that exchanges a session's datagrams with its target."""

    __slots__ = ("_answer", "_header", "_is_closed", "_is_refusal_logged", "_link", "_lost", "_make_room", "_opened",
                 "_opening", "_reason", "_session")  # fmt: skip

    def __init__(
        self,
        session: Session,
        *,
        answer: Callable[[bytes], None],
        opened: Callable[[], None],
        lost: Callable[[str], None],
        make_room: Callable[[], bool] | None = None,
    ) -> None:
        """Create an unconnected socket; `open` connects it.

        `answer` is called with each datagram from the target, `opened` when datagrams can be sent, `lost` with the
        reason when no target can be reached. `make_room` frees a file descriptor and returns whether it did.
        """
        self._session = session
        self._answer = answer
        self._opened = opened
        self._lost = lost
        self._make_room = make_room or _no_room
        self._link: DatagramLink | None = None
        self._opening: asyncio.Task[None] | None = None
        self._header = b""
        self._reason = "no target is available"  # why the last target failed
        self._is_refusal_logged = False
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<TargetSocket {self._link!r}>"

    def open(self) -> None:
        """Connect to the next target; immediately if its address is known, else once it is resolved."""
        session = self._session
        while (target := session.next_target()) is not None:
            try:
                sock = self._connect_now(target.address)
            except OSError as error:
                self._reason = f"{target.uri}: {explain(error)}"
                session.target_failed(explain(error))
                continue
            if sock is not None:
                self._start(sock)
            else:
                self._opening = spawn(self._resolve(target.address), "forwarding datagrams", self._resolve_failed)
            return
        session.unreachable(self._reason)
        self._lost("target unreachable")

    def raw_send(self) -> Callable[[bytes], object]:
        """Return the fastest function to send with, once open; the caller passes its errors to `not_sent`."""
        return self._send_headed if self._header or self._link is None else self._link.send

    def send(self, data: bytes) -> bool:
        """Send one datagram; return False if the kernel's buffer is full or the socket is not open."""
        try:
            self._send_headed(data)
        except OSError as error:
            return self.not_sent(data, error)
        return True

    def not_sent(self, data: bytes, error: OSError) -> bool:
        """Handle an error of sending `data`; return False if it can be sent later.

        A connection error reports the refusal of an earlier datagram: `data` is then sent again.
        """
        if isinstance(error, ConnectionError):
            self._refused(error)
            try:
                self._send_headed(data)
            except OSError as again:
                error = again
            else:
                return True
        if isinstance(error, (BlockingIOError, InterruptedError)):
            return False
        log.debug("%s: %r: dropping a datagram: %s", self._session.forward.settings.name, self._session, error)
        return True

    def when_writable(self, callback: Callable[[], None]) -> None:
        """Call `callback` once `send` can be tried again. If the socket is not open, `opened` is called instead."""
        if self._link is not None:
            self._link.when_writable(callback)

    def pause(self) -> None:
        """Stop reading datagrams from the target."""
        if self._link is not None:
            self._link.pause()

    def resume(self) -> None:
        """Read datagrams from the target again."""
        if self._link is not None:
            self._link.resume()

    def close(self) -> None:
        """Close the socket, also while it is being opened. Its owner is not called any more, and not referred to."""
        self._is_closed = True
        self._answer = self._lost = _ignore
        self._opened = _ignore_opened
        self._make_room = _no_room
        if self._opening is not None:
            self._opening.cancel()
        self._close_link()

    def _close_link(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    def _connect_now(self, address: Address) -> socket.socket | None:
        try:
            return connect_now(self._session.forward.context, address)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE) and self._make_room():
                return connect_now(self._session.forward.context, address)
            raise

    def _resolve_failed(self, error: BaseException) -> None:
        """Called when resolving has ended with an unexpected exception: end the session."""
        self._opening = None
        if not self._is_closed:
            self._session.unreachable("internal error")
            self._lost("internal error")

    async def _resolve(self, address: Address) -> None:
        session = self._session
        try:
            sock = await connect(session.forward.context, address, session.forward.settings.rule.connect_timeout)
        except UpstreamError as error:
            self._opening = None
            self._reason = str(error)
            session.target_failed(str(error))
            self.open()
        else:
            self._opening = None
            self._start(sock)

    def _start(self, sock: socket.socket) -> None:
        if self._is_closed:
            sock.close()
            return
        self._header = self._session.proxy_header()
        self._link = DatagramLink(self._session.forward.context.loop, sock, self._answer, self._refused)
        self._opened()

    def _refused(self, error: OSError) -> None:
        """Handle a refused datagram (ICMP, missing Unix socket): switch to the next target, or keep the last one.

        Once all have refused, a target that may be back is tried again: see `upstream.group.PROBE_AFTER_S`.
        """
        session, upstream = self._session, self._session.forward.upstream
        log.debug("%s: %r: %s", session.forward.settings.name, session, error)
        session.target_failed(str(error))
        has_next = len(upstream.targets) > len(session.tried) <= upstream.retry.retries
        if not has_next and len(upstream.targets) > 1 and upstream.pick(session.client[0], session.id) is not None:
            session.tried.clear()
            has_next = True
        if has_next:
            self._reason = explain(error)
            self._close_link()
            self.open()
        elif not self._is_refusal_logged:
            self._is_refusal_logged = True
            log.warning(
                "%s: target refuses the datagrams of client %s, they are lost (forward_to): %s: %s",
                session.forward.settings.name, endpoint(session.client), session.forward.upstream.name, explain(error),
            )  # fmt: skip

    def _send_headed(self, data: bytes) -> None:
        if self._link is None:
            raise BlockingIOError
        self._link.send(self._header + data if self._header else data)


def _ignore(value: object) -> None:
    """Stand in for the owner's functions once the socket is closed."""


def _ignore_opened() -> None:
    """Stand in for the owner's `opened` once the socket is closed."""


def _no_room() -> bool:
    return False
