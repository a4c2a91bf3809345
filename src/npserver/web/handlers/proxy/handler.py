"""The handler of `proxy` rules: starts a `ProxyCall`, a `DirectCall` or a `DirectStream` for each request."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from npserver.errors import BadRequest
from npserver.http.request import NO_BODY
from npserver.runtime.deadlines import NEVER
from npserver.web.handlers.proxy.buffered_upload import BufferedUpload
from npserver.web.handlers.proxy.call import ProxyCall
from npserver.web.handlers.proxy.direct import NO_EXCHANGE, DirectCall, DirectStream
from npserver.web.handlers.proxy.proxy import ForwardedHead
from npserver.web.handlers.proxy.request_head import prepare_fields
from npserver.web.handlers.proxy.upload import Upload
from npserver.web.server.http1.state import HANDLER

if TYPE_CHECKING:
    from npserver.http.request import Request
    from npserver.upstream.target import Target
    from npserver.web.exchange import DirectHandler, Exchange, Route
    from npserver.web.handlers.proxy.proxy import Proxy
    from npserver.web.server.roles import DirectConnectionRole, DirectStreamsRole


class ProxyHandler:
    """Forwards the requests of a rule to its upstream."""

    __slots__ = ("proxy", "redirects_to_slash")

    def __init__(self, proxy: Proxy, *, redirects_to_slash: bool = False) -> None:
        self.proxy = proxy
        #: Whether requests for the rule's path without a slash at its end are redirected: see `web.slash_redirect`.
        self.redirects_to_slash = redirects_to_slash

    def __repr__(self) -> str:
        return f"<ProxyHandler {self.proxy.upstream!r}>"

    @property
    def direct(self) -> DirectHandler | None:
        """What passes plain requests on without an exchange, if the rule allows it: see `Route`."""
        return self if self.proxy.is_direct else None

    def handle(self, exchange: Exchange) -> None:
        """Forward the request."""
        # hot: proxy-small
        proxy = self.proxy
        call = ProxyCall(proxy, exchange)
        request = exchange.request
        exchange.source = call
        if not request.is_plain and request.framing is not NO_BODY:
            settings = proxy.settings
            if settings.request_spool is not None:
                call.upload = upload = BufferedUpload(exchange, call, settings.request_spool)
                upload.receive()  # it starts the call
                return
            call.upload = Upload(exchange, call, settings.rule.buffer_size, settings.changes)
        call.start()

    def forward(self, connection: DirectConnectionRole, request: Request, route: Route) -> bool:
        """Forward a plain request without an exchange. Return False if it needs an exchange."""
        # hot: proxy-small
        proxy, front = self.proxy, connection.front
        requests = connection.requests + 1
        if not request.keep_alive or requests >= front.max_requests or connection.misdirected_by is not None:
            return False
        if connection.private_upstreams is not None:
            return False
        client_ip = connection.client_ip
        target = proxy.only_target or proxy.upstream.pick(client_ip, connection.id)
        if target is None:
            return False
        for gate in route.gates:  # the last that may want an exchange: a request that passes them is counted
            if gate(client_ip, request) is not None:
                return False
        started = monotonic() if front.context.access_log.enabled or front.is_timed else 0.0
        call = DirectCall(proxy, NO_EXCHANGE, connection=connection, request=request, route=route, started=started)
        connection.requests = requests
        connection.state = HANDLER
        connection.deadline = NEVER
        connection.exchange = call  # type: ignore[misc]  # it has the methods of an exchange that are called for a request without a body
        _send(proxy, call, request, connection.scheme, client_ip, target)
        return True

    def forward_stream(self, connection: DirectStreamsRole, stream_id: int, request: Request, route: Route) -> bool:
        """Do the same for a request over HTTP/2."""
        # hot: h2-proxy
        proxy, client_ip = self.proxy, connection.client_ip
        if connection.misdirected_by is not None or connection.private_upstreams is not None:
            return False
        target = proxy.only_target or proxy.upstream.pick(client_ip, connection.id)
        if target is None:
            return False
        for gate in route.gates:
            if gate(client_ip, request) is not None:
                return False
        started = monotonic() if connection.context.access_log.enabled or connection.front.is_timed else 0.0
        call = connection.streams[stream_id] = DirectStream(
            proxy, NO_EXCHANGE, connection=connection, stream_id=stream_id, request=request, route=route,
            started=started,
        )  # fmt: skip
        _send(proxy, call, request, connection.scheme, client_ip, target)
        return True


def _send(
    proxy: Proxy, call: DirectCall | DirectStream, request: Request, scheme: str, client_ip: str, target: Target
) -> None:
    """Send a request over an idle connection to its target; without one, let the call fall back."""
    # hot: proxy-small, h2-proxy
    idle, kept = target.pool.idle, request.handler_cache
    if (
        idle and type(kept) is ForwardedHead
        and kept.proxy is proxy and kept.target is target and kept.client_ip == client_ip
    ):  # fmt: skip
        head = kept.head
    else:
        try:
            may_share = idle and not prepare_fields(request.block).binds_connection
            head = proxy.compose_kept(request, scheme, client_ip, target) if may_share else b""
        except BadRequest:
            head = b""  # the exchange reports the error
        if not head:
            call.fall_back()
            call.use(target)
            return
    call.head = head
    call.target = target
    call.attempts = 1
    target.slots[target.active_slot] += 1  # what `acquire` does, written out
    target.tallies[target.requests_tally] += 1
    client = call.client = idle.pop()
    client.send_request(call, proxy.settings.client, head)
