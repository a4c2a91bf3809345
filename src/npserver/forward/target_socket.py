"""A session's connected datagram socket: opened towards the first target that can be reached, moved to the next when
one refuses. Used by forwards with datagrams going out, whatever comes in.
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
    """Where a session's datagrams go."""

    __slots__ = ("_answer", "_has_refused", "_header", "_is_closed", "_link", "_lost", "_make_room", "_opened",
                 "_opening", "_reason", "_session")  # fmt: skip

    def __init__(
        self,
        session: Session,
        *,
        answer: Callable[[bytes], None],
        opened: Callable[[], None],
        lost: Callable[[str], None],
        make_room: Callable[[], bool] = lambda: False,
    ) -> None:
        """`answer` gets each datagram from the target, `opened` is told when `send` will work, `lost` when nothing can
        be reached; `make_room` frees a descriptor if it can, and says so."""
        self._session = session
        self._answer = answer
        self._opened = opened
        self._lost = lost
        self._make_room = make_room
        self._link: DatagramLink | None = None
        self._opening: asyncio.Task[None] | None = None
        self._header = b""
        self._reason = "none is usable"  # why the latest one failed
        self._has_refused = False  # and the log has it
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<TargetSocket {self._link!r}>"

    def open(self) -> None:
        """Connect to the next target: at once where its address is known."""
        session = self._session
        while (target := session.next_target()) is not None:
            try:
                sock = self._connect_now(target.address)
            except OSError as error:
                self._reason = f"{target.uri}: {explain(error)}"
                session.target_failed(str(error))
                continue
            if sock is not None:
                self._start(sock)
            else:
                self._opening = spawn(self._resolve(target.address), "forwarding datagrams")
            return
        session.unreachable(self._reason)
        self._lost("target unreachable")

    def raw_send(self) -> Callable[[bytes], object]:
        """The quickest way to send, once open. What it raises is for `not_sent`."""
        return self._send_headed if self._header or self._link is None else self._link.send

    def send(self, data: bytes) -> bool:
        """Send one datagram; False if the kernel takes none now, or nothing is open."""
        try:
            self._send_headed(data)
        except OSError as error:
            return self.not_sent(data, error)
        return True

    def not_sent(self, data: bytes, error: OSError) -> bool:
        """Sending `data` failed: try again if that was about an earlier datagram. False: it may be sent later."""
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
        log.debug("%s: %r: datagram dropped: %s", self._session.forward.settings.name, self._session, error)
        return True

    def when_writable(self, callback: Callable[[], None]) -> None:
        """Call back once `send` can be tried again; if nothing is open, `opened` does."""
        if self._link is not None:
            self._link.when_writable(callback)

    def pause(self) -> None:
        """Take no answers for now."""
        if self._link is not None:
            self._link.pause()

    def resume(self) -> None:
        """Take answers again."""
        if self._link is not None:
            self._link.resume()

    def close(self) -> None:
        """Release the socket."""
        self._is_closed = True
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

    async def _resolve(self, address: Address) -> None:
        session = self._session
        try:
            sock = await connect(session.forward.context, address, session.forward.settings.connect_timeout_s)
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
        """The target refused a datagram (ICMP, or no such socket): try another if there is one, else this one on."""
        session = self._session
        log.debug("%s: %r: %s", session.forward.settings.name, session, error)
        session.target_failed(str(error))
        if len(session.forward.upstream.targets) > len(session.tried) <= session.forward.upstream.retries:
            self._reason = explain(error)
            self._close_link()
            self.open()
        elif not self._has_refused:
            self._has_refused = True
            log.warning(
                "%s: the target refuses datagrams of client %s, they are lost: %s: %s",
                session.forward.settings.name, endpoint(session.client), session.forward.upstream.name, explain(error),
            )  # fmt: skip

    def _send_headed(self, data: bytes) -> None:
        if self._link is None:
            raise BlockingIOError
        self._link.send(self._header + data if self._header else data)
