"""The proxy's handler: what a rule says of passing requests on, compiled. `web.handlers.proxy.call` does it for each
request.

The head of a request passed on is remembered with the request, which the server remembers by its bytes: passing on a
repeated request costs a look-up.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

from msgspec import Struct

from npserver.errors import BadRequest
from npserver.http.memo import Memo
from npserver.http.request import NO_BODY, Request
from npserver.http.request_target import canonical_path
from npserver.http.response_parser import ResponseHead
from npserver.runtime.deadlines import NEVER
from npserver.upstream.response_sink import ClientSettings
from npserver.upstream.sticky import cookie_line, find_cookie
from npserver.web.handlers.proxy.call import ProxyCall
from npserver.web.handlers.proxy.direct import NOBODY, DirectCall
from npserver.web.handlers.proxy.relocation import Relocation
from npserver.web.handlers.proxy.request_head import (
    forwarded_line,
    framing_lines,
    prepare_fields,
    trusted_fields,
    untrusted_fields,
    upgrade_of,
)
from npserver.web.handlers.proxy.upload import Upload
from npserver.web.server.http1.state import HANDLER

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from npserver.networks import AddressSet
    from npserver.upstream.group import Upstream
    from npserver.upstream.target import Target
    from npserver.web.exchange import Exchange
    from npserver.web.route import Route
    from npserver.web.server.http1.connection import HttpConnection


def _write_same_line(of: tuple[str, str, str, bool]) -> bytes:
    method, path, query, has_query = of
    return f"{method} {path}{'?' if has_query else ''}{query} HTTP/1.1\r\n".encode("latin-1")


#: The request lines passed on for upstreams with the same paths: by method, path, query, and whether there is one.
_same_lines = Memo(_write_same_line, 2048)


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """A proxy rule as the config has it; seconds and bytes."""

    client: ClientSettings = field(default_factory=ClientSettings)
    connect_timeout_s: float = 5.0
    connect_key: str = "proxy_timeout_seconds"
    tunnel_idle_s: float = 3600.0
    buffer_size: int = 64 << 10
    base: str = ""  # path of the target's URI, put before the request's
    strip: str = ""  # path taken off first
    rewrites: tuple[tuple[re.Pattern[str], str], ...] = ()
    preserve_host: bool = False
    forwarded: bool = False
    trusted: AddressSet | None = None
    rewrite_fields: Callable[[Exchange, bytes], bytes] | None = None  # the rule's `headers`


class PassedHead(Struct, eq=False):
    """The head of a request as one proxy passes it on to one target for one client."""

    proxy: Proxy
    target: Target
    client_ip: str
    head: bytes


class Proxy:
    """Passes the requests of a rule on to an upstream."""

    def __init__(self, upstream: Upstream, settings: ProxySettings | None = None) -> None:
        self.upstream = upstream
        self.settings = settings or ProxySettings()
        self.retry = upstream.settings.retry
        self.sticky = upstream.settings.sticky
        self._sticky_name = self.sticky.cookie.encode("ascii") if self.sticky else b""
        self._relocation = Relocation(
            self.settings.base.encode("ascii"), self.settings.strip.encode("ascii"), not self.settings.preserve_host
        )
        self._keeps_path = not (self.settings.base or self.settings.strip or self.settings.rewrites)
        self._only_target = upstream.only_target if self.sticky is None else None
        #: Heads depend on the request, the target and the client only, and may be kept.
        self._keeps_heads = self.settings.trusted is None and self.settings.rewrite_fields is None
        self._is_direct = self._keeps_heads and self.sticky is None

    def __repr__(self) -> str:
        return f"<Proxy {self.upstream!r}>"

    def handle(self, exchange: Exchange) -> None:
        """Pass the request on."""
        call = ProxyCall(proxy=self, exchange=exchange)
        if exchange.request.framing is not NO_BODY:
            call.upload = Upload(exchange, call, self.settings.buffer_size)
        exchange.watch(call)
        target = self._only_target or self.choose(exchange, ())
        if target is not None:
            call.use(target)
        else:
            call.fail_without_target()

    def pass_on(self, connection: HttpConnection, request: Request, route: Route) -> bool:
        """Pass a plain request on without an exchange. False: it takes one."""
        # hot: proxy-small
        if not self._is_direct or not request.keep_alive or connection.is_misdirected is not None:
            return False
        front = connection.front
        if connection.requests + 1 >= front.max_requests:
            return False
        trusted = front.trusted
        if trusted is not None and connection.client_ip in trusted:
            return False  # who is asking has to be found out
        target = self._only_target or self.upstream.pick(connection.client_ip, connection.id)
        if target is None:
            return False
        connection.requests += 1
        connection.state = HANDLER
        connection.deadline = NEVER
        started = monotonic() if connection.context.access_log.enabled else 0.0
        call = DirectCall(connection, request, route, started, proxy=self, exchange=NOBODY)
        connection.exchange = call  # type: ignore[assignment]  # as far as connections ask one that has no body
        idle = target.pool.idle
        cached = request.handler_cache
        if (
            idle and type(cached) is PassedHead  # what `head_for` does, written out
            and cached.proxy is self and cached.target is target and cached.client_ip == connection.client_ip
        ):  # fmt: skip
            head = cached.head
        else:
            try:
                head = self.head_for(request, connection.scheme, connection.client_ip, target) if idle else b""
            except BadRequest:
                head = b""
            if not head:
                call.unfold()
                call.use(target)
                return True
        call.head = head
        call.target = target
        call.attempts = 1
        target.slots[target.active_slot] += 1  # what `acquire` does, written out
        target.tallies[target.requests_tally] += 1
        client = call.client = idle.pop()
        client.ask(call, self.settings.client, head)
        return True

    def choose(self, exchange: Exchange, tried: Container[Target]) -> Target | None:
        """The target for a request: the one its cookie names, else the balancer's choice."""
        if self.sticky is not None:
            cookie = find_cookie(exchange.request.fields.get(b"cookie", b""), self._sticky_name)
            if cookie is not None:
                target = self.upstream.pick_sticky(cookie)
                if target is not None and target not in tried:
                    return target
        return self.upstream.pick(exchange.client_ip, exchange.connection_id, tried)

    def compose(self, exchange: Exchange, target: Target) -> bytes:
        """Write the head of the request passed on. Raises: BadRequest if it cannot be passed on."""
        if self._keeps_heads:
            return self.head_for(exchange.request, exchange.scheme, exchange.client_ip, target)
        return self._write_head(exchange.request, exchange.scheme, exchange.client_ip, target, exchange)

    def head_for(self, request: Request, scheme: str, client_ip: str, target: Target) -> bytes:
        """The same where it depends on nothing else."""
        # hot: proxy-varied
        cached = request.handler_cache
        if (
            type(cached) is PassedHead
            and cached.proxy is self and cached.target is target and cached.client_ip == client_ip
        ):  # fmt: skip
            return cached.head
        head = self._write_head(request, scheme, client_ip, target, None)
        # Most heads never come again: it is kept from the second time on.
        request.handler_cache = PassedHead(self, target, client_ip, head) if cached is not None else self
        return head

    def response_fields(self, exchange: Exchange, target: Target, head: ResponseHead) -> bytes:
        """The fields of the answer passed back."""
        fields = head.fields
        if head.needs_rewrite:
            authority = exchange.request.authority.encode("latin-1")
            fields = self._relocation.rewrite(fields, target.authority.encode("ascii"), authority)
        if self.sticky is not None:
            cookie = find_cookie(exchange.request.fields.get(b"cookie", b""), self._sticky_name)
            if cookie != target.cookie:
                sticky = self.sticky
                fields += cookie_line(sticky.cookie, target.cookie, sticky.max_age, secure=sticky.secure)
        return fields

    def _write_head(
        self, request: Request, scheme: str, client_ip: str, target: Target, exchange: Exchange | None
    ) -> bytes:
        # hot: proxy-varied
        settings = self.settings
        prepared = prepare_fields(request.block)
        if prepared.is_loop:
            raise BadRequest("the request has passed this server before: a loop", 508, "proxy_pass")
        if self._keeps_path:
            line = _same_lines[request.method, request.path, request.query, request.has_query]
        else:
            line = f"{request.method} {self._target_of(request)} HTTP/1.1\r\n".encode("latin-1")
        if settings.preserve_host and request.authority:
            fields = f"Host: {request.authority}\r\n".encode("latin-1")
        else:
            fields = target.host_line
        nearest_ip = client_ip
        if exchange is not None and settings.trusted is not None and exchange.peer_ip in settings.trusted:
            nearest_ip = exchange.peer_ip
            fields += trusted_fields(request, prepared, scheme, client_ip, nearest_ip)
        else:
            fields += untrusted_fields(request, prepared, scheme, client_ip)
        if settings.forwarded:
            fields += forwarded_line(request, scheme, nearest_ip)
        if exchange is not None and settings.rewrite_fields is not None:
            fields = settings.rewrite_fields(exchange, fields)
        upgrade = upgrade_of(request) if request.upgrade else b""
        return line + fields + framing_lines(request, prepared, close=not settings.client.pool_size, upgrade=upgrade)

    def _target_of(self, request: Request) -> str:
        """The request target for an upstream that has other paths."""
        settings = self.settings
        path = request.path
        query = f"?{request.query}" if request.has_query else ""
        strip = settings.strip
        if strip and path.startswith(strip) and path[len(strip) : len(strip) + 1] in ("", "/"):
            path = path[len(strip) :] or "/"
        for pattern, replacement in settings.rewrites:
            new_path, count = pattern.subn(replacement, path, count=1)
            if count:
                new_path, mark, added = new_path.partition("?")
                path = canonical_path(new_path.encode("utf-8"))
                if mark:
                    query = f"?{added}&{request.query}" if request.query else f"?{added}"
                break
        return settings.base + path + query
