"""The kept connection to a resolver, over TCP, TLS or HTTPS: opened when there is a question, closed when it is idle.

Questions are pipelined and answered in any order (RFC 7766 §6.2.1.1). Those on a connection that is lost are sent again
on a new one. A connection that has not said a word since a question was sent is given up when that is sent again. After
a failed attempt to connect there is a pause, in which questions fail at once: other resolvers are asked meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from npserver.address import Address
from npserver.errors import UpstreamError
from npserver.nameserver.resolver.stream_connection import StreamConnection
from npserver.net.dialer import dial
from npserver.runtime.tasks import spawn

if TYPE_CHECKING:
    import asyncio
    import ssl

    from npserver.nameserver.resolver.address import ResolverAddress
    from npserver.nameserver.resolver.connection import Exchange, ResolverConnection
    from npserver.runtime.context import Context

log = logging.getLogger("npserver.dns")

DIAL_S = 5.0
PAUSE_S, LONGEST_PAUSE_S = 0.25, 4.0  # after an attempt to connect that failed; doubled each time
MAX_SENDS = 3  # of a question, on as many connections
#: Keys that an error of a connection names, and what is written for a resolver instead.
_KEYS = {"`tls.ca`": "`ca`", "`tls.server_name` sets": "`server_name`, or what follows `#`, is"}
SILENT_S = 0.3  # a connection may be silent for that time after a question


class Channel:
    """The connection to one resolver, or what waits for one."""

    # connection    the open connection, if there is one
    # _waiting      questions that are not sent yet
    # _sent         questions on the connection
    # _task         opens a connection
    # _paused_until no connection is opened before; _reason: of the failure that the pause follows

    __slots__ = (
        "_context", "_key", "_pause_s", "_paused_until", "_reason", "_sent", "_task", "_tls", "_waiting", "address",
        "connection",
    )  # fmt: skip

    def __init__(self, context: Context, address: ResolverAddress, tls: ssl.SSLContext | None, key: str) -> None:
        self.address = address
        self.connection: ResolverConnection | None = None
        self._context = context
        self._tls = tls
        self._key = key
        self._waiting: dict[Exchange, None] = {}
        self._sent: dict[Exchange, None] = {}
        self._task: asyncio.Task[None] | None = None
        self._paused_until = 0.0
        self._pause_s = PAUSE_S
        self._reason = ""

    def __repr__(self) -> str:
        return f"<Channel {self.address} sent={len(self._sent)} waiting={len(self._waiting)}>"

    @property
    def is_idle(self) -> bool:
        """Whether no question waits for anything."""
        return not self._sent and not self._waiting

    # ── questions ──

    def submit(self, exchange: Exchange) -> None:
        """Send a question, or send it again. Raises: OSError during the pause after a failure."""
        now = self._context.loop.time()
        if exchange in self._sent:
            if self.connection is not None and self._is_silent(exchange, now):
                self._replace("no answer on the connection")
            return
        if exchange in self._waiting:
            return
        if self.connection is None and self._task is None and now < self._paused_until:
            raise OSError(f"{self._reason} (not tried again for {self._pause_s / 2:g} s)")
        self._waiting[exchange] = None
        self._proceed()

    def withdraw(self, exchange: Exchange) -> None:
        """Await the answer to a question no more."""
        self._waiting.pop(exchange, None)
        if exchange not in self._sent:
            return
        del self._sent[exchange]
        connection = self.connection
        if connection is not None:
            if self._is_silent(exchange, self._context.loop.time()):
                self._replace("no answer on the connection")
            else:
                connection.forget(exchange)
                self._proceed()

    def _is_silent(self, exchange: Exchange, now: float) -> bool:
        connection = self.connection
        # the clock of uvloop has milliseconds: what comes in that of the sending says nothing of the connection since
        return connection is not None and connection.heard_at <= exchange.sent_at < now - SILENT_S

    # ── called by the connection ──

    def opened(self, connection: ResolverConnection) -> None:
        """Send what waits: the connection is open."""
        self.connection = connection
        self._proceed()

    def proceed(self) -> None:
        """Send what waits: the connection has room."""
        self._proceed()

    def answered(self, exchange: Exchange, data: bytes) -> bool:
        """Give a question a message of the resolver. Return whether it is the answer."""
        self._pause_s = PAUSE_S
        if exchange not in self._sent:
            return True
        is_answer = exchange.answered(data)
        if is_answer:
            self._sent.pop(exchange, None)
        return is_answer

    def refused(self, exchange: Exchange, reason: str) -> None:
        """Fail a single question."""
        if self._sent.pop(exchange, False) is None:
            exchange.failed(reason, is_hard=False)

    def lost(self, connection: ResolverConnection, reason: str) -> None:
        """Send the questions of a connection that is closed again, on a new one."""
        if connection is not self.connection:
            self._fail_all(reason)  # it could not be used at all
            return
        self.connection = None
        has_answered = connection.heard_at > 0
        if not self._sent and not self._waiting:
            log.debug("connection to resolver %s closed: %s", self.address, reason)
            return
        sent, self._sent = self._sent, {}
        if not has_answered:  # a resolver that closes each connection at once must not be asked in a loop
            self._waiting = {**sent, **self._waiting}
            self._fail_all(reason)
            return
        failed = [exchange for exchange in sent if exchange.sends >= MAX_SENDS]
        self._waiting = {**{exchange: None for exchange in sent if exchange.sends < MAX_SENDS}, **self._waiting}
        for exchange in failed:
            exchange.failed(reason, is_hard=True)
        self._proceed()

    # ── private ──

    def _replace(self, reason: str) -> None:
        connection = self.connection
        if connection is not None:
            connection.close()
            self.connection = None
            self._waiting = {**self._sent, **self._waiting}
            self._sent = {}
            log.debug("connection to resolver %s given up: %s", self.address, reason)
            self._proceed()

    def _proceed(self) -> None:
        """Send as much as there is room for; open a connection if there is none."""
        connection = self.connection
        if connection is None:
            if self._waiting and self._task is None:
                self._task = spawn(self._dial(), f"connecting to resolver {self.address}", self._broken_off)
            return
        while self._waiting and self.connection is connection and connection.has_room():
            exchange = next(iter(self._waiting))
            del self._waiting[exchange]
            self._sent[exchange] = None
            exchange.sends += 1
            exchange.sent_at = self._context.loop.time()
            connection.send(exchange)

    async def _dial(self) -> None:
        address = self.address
        host = Address("ssl" if address.is_tls else "tcp", address.host, address.port)
        try:
            _, connection = await dial(
                self._context, host, self._factory(), timeout_s=DIAL_S, tls=self._tls, server_name=address.server_name
            )
        except UpstreamError as error:
            self._task = None
            reason = str(error).removeprefix(f"{host}: ")
            for key, ours in _KEYS.items():
                reason = reason.replace(key, ours)
            self._fail_all(reason)
            return
        self._task = None
        if not connection.is_closed:
            connection.start()

    def _factory(self) -> Callable[[], ResolverConnection]:
        if self.address.scheme == "https":
            from npserver.nameserver.resolver.https_connection import HttpsConnection  # HTTP/2 takes time to import

            return lambda: HttpsConnection(self._context, self)
        return lambda: StreamConnection(self._context, self)

    def _broken_off(self, error: BaseException) -> None:
        """Handle an attempt to connect that ended with an unexpected exception."""
        self._task = None
        self._fail_all("internal error")

    def _fail_all(self, reason: str) -> None:
        """Fail what waits, and open no connection for a while."""
        self._reason = reason
        self._paused_until = self._context.loop.time() + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        failed, self._waiting = self._waiting, {}
        for exchange in failed:
            exchange.failed(reason, is_hard=True)
