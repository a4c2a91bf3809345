"""An exchange that is only asked about: it passes gates, middleware and handlers, and keeps their answer."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

from npserver.web.server.exchange_base import ExchangeBase

if TYPE_CHECKING:
    import asyncio
    import ssl
    from collections.abc import Callable

    from npserver.runtime.context import Context
    from npserver.web.exchange import PrivateUpstream, Route
    from npserver.web.server.roles import FrontRole


class AskedTls:
    """What can be known of a client's TLS connection: see `ssl.SSLObject`. The client shows no certificate."""

    def __init__(self, sni: str, context: ssl.SSLContext) -> None:
        self.sni = sni
        self.context = context

    def version(self) -> str:
        """Return the version that clients of today agree on."""
        return "TLSv1.3"

    def cipher(self) -> None:
        """Return None: no handshake has chosen one."""

    def getpeercert(self, binary_form: bool = False) -> None:
        """Return that there is none."""


class AskedTransport:
    """The transport of a connection that does not exist."""

    def __init__(self, tls: AskedTls | None) -> None:
        self._tls = tls

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return the TLS connection."""
        return self._tls if name == "ssl_object" else default


class AskedConnection:
    """The connection of a client that does not exist."""

    def __init__(
        self, front: FrontRole, client_ip: str, scheme: str, local: tuple[str, int], tls: AskedTls | None
    ) -> None:
        self.client_ip = client_ip
        self.client_port = 0
        self.scheme = scheme
        self.id = 0
        self.front = front
        self.context: Context = front.context
        self.transport = cast("asyncio.Transport", AskedTransport(tls))
        self.private_upstreams: dict[object, PrivateUpstream] | None = None
        self.misdirected_by: Callable[[str], str] | None = None
        self.local = local


class AskedExchange(ExchangeBase[AskedConnection], eq=False):
    """One request.

    `instrument` returns the route to take instead of one: that with steps which tell of what they decide.
    """

    instrument: Callable[[Route], Route] = lambda route: route
    fields: bytes = b""  # of the answer
    reason: str = ""  # why the request is refused
    key: str = ""  # the config key that has decided that

    @property
    def is_gone(self) -> bool:
        """Whether it is answered."""
        return self.status != 0

    def reroute(self, route: Route) -> None:
        """Let another route answer, and tell of its steps too."""
        super().reroute(self.instrument(route))

    def break_off(self) -> None:
        """An error of ours: the log has it."""
        self.fail(500, "internal error: see the log")

    def fail(self, status: int, reason: str, key: str = "", fields: bytes = b"", *, level: int | None = None) -> None:
        """Keep why the request is refused; nothing is logged."""
        if not self.status:
            self.reason, self.key = reason, key or self.route.key
            self.respond(status, fields)

    def respond(self, status: int, fields: bytes = b"", body: bytes = b"") -> None:
        """Keep the answer."""
        if self.status:
            return
        if self.route.responses and not self._is_filtered:
            self._respond_filtered(status, fields, body)
            return
        self._answered(status, fields)

    def abort(self, reason: str, key: str = "", *, level: int = 0) -> None:
        """Keep why there is no answer."""
        self.reason, self.key = reason, key or self.route.key

    def _answered(self, status: int, fields: bytes) -> None:
        self.status = status
        self.fields = self.route.change_fields(fields) if self.route.change_fields is not None else fields
        watchers, self._watchers = self._watchers, ()
        for ended in watchers:
            ended()

    def _send_start(self, status: int, fields: bytes, length: int | None) -> None:
        self._answered(status, fields)

    def _send_file(self, status: int, fields: bytes, file: int, offset: int, length: int) -> None:
        os.close(file)
        self._answered(status, fields)

    def _send_interim(self, status: int, fields: bytes) -> None:
        """Nobody waits for it."""

    def _send_data(self, data: bytes) -> None:
        """Nobody reads it."""

    def _send_end(self, trailers: bytes) -> None:
        """Nobody reads it."""

    def end(self) -> None:
        """Release what middleware has counted for a request that is passed on."""
        self._cancel_filters()
        watchers, self._watchers = self._watchers, ()
        for ended in watchers:
            ended()
