"""The proxy's handler: what a rule says of passing requests on, compiled. `serve.proxy_call` does it for each request.

The head of a request passed on is remembered with the request, which the server remembers by its bytes: a repeated
request costs a look-up and a join.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from npserver.balance.sticky import cookie_line, find_cookie
from npserver.errors import BadRequest
from npserver.http.gateway import (
    client_lines,
    forwarded_line,
    framing_lines,
    is_loop,
    passed_fields,
    trusted_fields,
    upgrade_of,
)
from npserver.http.message import Request
from npserver.http.relocation import Relocation
from npserver.http.response import ResponseHead
from npserver.http.target import canonical_path
from npserver.serve.proxy_call import ProxyCall
from npserver.serve.response_sink import ClientSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from npserver.serve.exchange import Exchange
    from npserver.serve.target import Target
    from npserver.serve.upstream import Upstream

REMEMBERED_CLIENTS = 4096  # addresses whose lines are kept ready


class AddressSet(Protocol):
    """A set of networks: `networks.Networks`."""

    def __contains__(self, ip: str, /) -> bool: ...


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


class Prepared:
    """A request as one proxy passes it on: what does not depend on target and client, and the last whole head."""

    __slots__ = ("asked", "client_ip", "fields", "framing", "head", "is_trusted", "proxy", "request_line", "target")

    def __init__(self, proxy: Proxy, request_line: bytes, fields: bytes, framing: bytes, asked: bytes) -> None:
        self.proxy = proxy
        self.request_line = request_line  # with the Host line, if that is the client's
        self.fields = fields
        self.framing = framing
        self.asked = asked  # the protocols in its Upgrade field
        self.is_trusted = False  # the sender is a trusted proxy
        self.target: Target | None = None  # that `head` is for
        self.client_ip = ""
        self.head = b""


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
        self._client_lines: dict[str, bytes] = {}

    def __repr__(self) -> str:
        return f"<Proxy {self.upstream!r}>"

    def handle(self, exchange: Exchange) -> None:
        """Pass the request on."""
        # hot: proxy
        call = ProxyCall(self, exchange)
        exchange.watch(call)
        target = self._only_target or self.choose(exchange, ())
        if target is not None:
            call.use(target)
        else:
            call.fail_without_target()

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
        # hot: proxy
        request, client_ip = exchange.request, exchange.client_ip
        prepared = request.memo
        if type(prepared) is Prepared and prepared.proxy is self:
            if prepared.target is target and prepared.client_ip == client_ip:
                return prepared.head
        else:
            prepared = None
        settings = self.settings
        is_trusted = settings.trusted is not None and exchange.peer_ip in settings.trusted
        if prepared is None or prepared.is_trusted is not is_trusted:
            prepared = self._prepare(exchange, is_trusted=is_trusted)
        if is_trusted:
            lines = client_lines(client_ip, exchange.peer_ip)
        else:
            lines = self._client_lines.get(client_ip) or self._remember_client(client_ip)
        if settings.forwarded:
            lines += forwarded_line(request, exchange.scheme, exchange.peer_ip if is_trusted else client_ip)
        host_line = b"" if settings.preserve_host and request.authority else target.host_line
        if settings.rewrite_fields is not None:
            line, _, own_host = prepared.request_line.partition(b"\r\n")
            block = settings.rewrite_fields(exchange, b"".join((own_host, host_line, prepared.fields, lines)))
            return b"".join((line, b"\r\n", block, prepared.framing))
        head = b"".join((prepared.request_line, host_line, prepared.fields, lines, prepared.framing))
        if settings.trusted is None:
            prepared.target = target
            prepared.client_ip = client_ip
            prepared.head = head
        return head

    def asked_upgrade(self, exchange: Exchange) -> bytes:
        """The protocols that the request passed on asked for in its Upgrade field."""
        memo = exchange.request.memo
        return memo.asked if isinstance(memo, Prepared) else b""

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

    def _prepare(self, exchange: Exchange, *, is_trusted: bool) -> Prepared:
        # hot: proxy-varied
        request, settings = exchange.request, self.settings
        if b"via" in request.fields and is_loop(request):
            raise BadRequest("the request has passed this server before: a loop", 508, "proxy_pass")
        asked = upgrade_of(request) if request.upgrade else b""
        if is_trusted:
            fields = trusted_fields(request, exchange.scheme)
        else:
            fields = passed_fields(request, exchange.scheme)
        line = f"{request.method} {self._target_of(request)} HTTP/1.1\r\n"
        if settings.preserve_host and request.authority:
            line += f"Host: {request.authority}\r\n"
        framing = framing_lines(request, close=not settings.client.pool_size, upgrade=asked)
        prepared = Prepared(self, line.encode("latin-1"), fields, framing, asked)
        prepared.is_trusted = is_trusted
        request.memo = prepared
        return prepared

    def _target_of(self, request: Request) -> str:
        """The request target for the upstream."""
        settings = self.settings
        path = request.path
        query = f"?{request.query}" if request.has_query else ""
        if self._keeps_path:
            return path + query
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

    def _remember_client(self, client_ip: str) -> bytes:
        if len(self._client_lines) >= REMEMBERED_CLIENTS:
            self._client_lines.clear()
        lines = self._client_lines[client_ip] = client_lines(client_ip, client_ip)
        return lines
