"""A compiled proxy rule: chooses targets, composes the forwarded request heads, and rewrites response fields.

Used by `web.handlers.proxy.handler` and `web.handlers.proxy.call`. A forwarded head is cached in its `Request`, and the
server caches requests by their bytes: forwarding a repeated request costs one look-up.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec import Struct

from npserver.errors import BadRequest
from npserver.http.memo import SHORT, Memo
from npserver.http.request import Request
from npserver.http.request_target import canonical_path, path_with_slashes
from npserver.http.response_parser import ResponseHead
from npserver.upstream.sticky import cookie_line, cookie_name, find_cookie
from npserver.web.handlers.proxy.references import References
from npserver.web.handlers.proxy.relocation import Relocation
from npserver.web.handlers.proxy.request_head import (
    forwarded_line,
    framing_lines,
    prepare_fields,
    trusted_fields,
    untrusted_fields,
    upgrade_of,
    via_line,
)
from npserver.web.middleware.headers.changes import remove_fields

if TYPE_CHECKING:
    from collections.abc import Container

    from npserver.errors import UpstreamError
    from npserver.networks import AddressSet
    from npserver.observe.histogram import Histogram
    from npserver.observe.tracing.trace import Trace
    from npserver.upstream.group import Upstream
    from npserver.upstream.response_sink import ClientSettings
    from npserver.upstream.target import Target
    from npserver.web.exchange import Exchange
    from npserver.web.handlers.proxy.config import ProxyRule
    from npserver.web.handlers.proxy.spool import SpoolSettings
    from npserver.web.middleware.headers.changes import FieldChanges
    from npserver.web.variables import Template


def _write_request_line(of: tuple[str, str, str, bool]) -> bytes:
    method, path, query, has_query = of
    return f"{method} {path}{'?' if has_query else ''}{query} HTTP/1.1\r\n".encode("latin-1")


#: Request lines for upstreams with the same paths as the client's, by method, path, query, and whether it has one.
_request_lines = Memo(_write_request_line, 2048, lambda of: len(of[1]) + len(of[2]) <= SHORT)


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """A proxy rule, and what is compiled from it and its upstream."""

    rule: ProxyRule
    client: ClientSettings
    key: str  # config keys, for the log: of the rule, the one that names its upstream, the upstream's own, and that
    pass_key: str  # of the time limit for connecting
    upstream_key: str
    connect_key: str
    trusted: AddressSet | None
    base: str = ""  # path of the target's URI, prepended to the path of the request
    strip: str = ""  # path removed from the start first
    rewrites: tuple[tuple[re.Pattern[str], str], ...] = ()
    changes: FieldChanges | None = None  # the rule's `headers`
    hash_of: Template | None = None  # what the upstream's `balance` `hash` is of
    times: Histogram | None = None  # of the responses of targets, by `metrics.times`
    times_attempts: bool = False  # an access log has the times of attempts
    is_traced: bool = False  # `tracing`: each request has a `traceparent` of its own
    request_spool: SpoolSettings | None = None  # where request bodies are buffered; None: they are passed on
    response_spool: SpoolSettings | None = None  # likewise for responses

    def key_of(self, error: UpstreamError) -> str:
        """Return the config key that decided: of the time limit that passed, else of the target."""
        return error.key or self.pass_key


class ForwardedHead(Struct, eq=False):
    """The head that a proxy forwards to one target for one client, cached in the request."""

    proxy: Proxy
    target: Target
    client_ip: str
    head: bytes


class Proxy:
    """One proxy rule: an upstream, and the changes to requests and responses."""

    def __init__(self, upstream: Upstream, settings: ProxySettings) -> None:
        self.upstream = upstream
        self.settings = settings
        self.retry = upstream.retry
        self.sticky = upstream.section.sticky
        self._sticky_name = cookie_name(self.sticky, upstream.name) if self.sticky else b""
        rule = settings.rule
        self._relocation = Relocation(
            self.settings.base.encode("ascii"), self.settings.strip.encode("ascii"), not rule.preserve_host,
            rule.rewrite_location, rule.rewrite_cookies,
        )  # fmt: skip
        self._keeps_path = rule.merge_slashes and not (settings.base or settings.strip or settings.rewrites)
        #: The target of all requests, if the upstream has only one and no sticky cookie.
        self.only_target: Target | None = None
        self.upstream_changed()
        upstream.followers.add(self)
        changes = self.settings.changes
        #: Whether heads depend on the request, the target and the client only, and can be cached.
        self._keeps_heads = (
            self.settings.trusted is None and not settings.is_traced and (changes is None or changes.is_fixed)
        )
        #: Whether the times of responses are measured: for `balance`, and for that, `metrics.times` or `tracing`.
        self.is_by_time = upstream.section.balance == "least-time" and len(upstream.targets) > 1
        #: Whether plain requests may be forwarded without an exchange.
        self.is_direct = (
            self._keeps_heads
            and self.sticky is None
            and upstream.queue is None
            and settings.hash_of is None
            and not self.is_by_time
        )
        self.times = settings.times
        has_times = self.times is not None
        self.is_timed = self.is_by_time or has_times or settings.is_traced or settings.times_attempts
        self.has_logged_refusal = False  # by `refused_upgrade`

    def __repr__(self) -> str:
        return f"<Proxy {self.upstream!r}>"

    def upstream_changed(self) -> None:
        """Called when the upstream has another `only_target`, or none any more."""
        upstream = self.upstream
        self.only_target = upstream.only_target if self.sticky is None and upstream.queue is None else None

    def choose(self, exchange: Exchange, tried: Container[Target], upstream: Upstream | None = None) -> Target | None:
        """Return the target for a request; None if there is none.

        It is the target where the client has authenticated its connection, else the one that the request's cookie
        names, else the balancer's choice. `upstream`: that of a later config, for a request that has waited.
        """
        upstream = upstream or self.upstream
        private = exchange.private_upstreams
        if private is not None:
            for one in upstream.targets:
                if one.pool in private and one not in tried:
                    return one
        if self.sticky is not None:
            cookie = find_cookie(exchange.request.fields.get(b"cookie", b""), self._sticky_name)
            if cookie is not None:
                target = upstream.pick_sticky(cookie)
                if target is not None and target not in tried:
                    return target
        return self.pick(exchange, tried, upstream)

    def pick(self, exchange: Exchange, tried: Container[Target], upstream: Upstream) -> Target | None:
        """Return the balancer's choice for a request; None if there is no target."""
        hash_of = self.settings.hash_of
        key = hash_of(exchange).encode("utf-8", "replace") if hash_of is not None else b""
        return upstream.pick(exchange.client_ip, exchange.connection_id, tried, key)

    def compose(self, exchange: Exchange, target: Target, length: int | None = None) -> bytes:
        """Return the head to forward for an exchange. `length`: of a body that was buffered, in bytes.

        Raises: BadRequest if the request cannot be forwarded.
        """
        if self._keeps_heads and length is None:
            return self.compose_kept(exchange.request, exchange.scheme, exchange.client_ip, target)
        return self._write_head(exchange.request, exchange.scheme, exchange.client_ip, target, exchange, length)

    def compose_copy(self, exchange: Exchange, target: Target, length: int | None) -> bytes:
        """Return the head of a copy of a request, as `compose`, past the cache, which is the request's own."""
        return self._write_head(exchange.request, exchange.scheme, exchange.client_ip, target, exchange, length)

    def compose_kept(self, request: Request, scheme: str, client_ip: str, target: Target) -> bytes:
        """Return a head that depends on the arguments alone, and cache it in the request. Raises: BadRequest.

        Most requests are never repeated: the head is cached from the second time on.
        """
        head = self._write_head(request, scheme, client_ip, target, None)
        is_second = request.handler_cache is not None and not prepare_fields(request.block).binds_connection
        request.handler_cache = ForwardedHead(self, target, client_ip, head) if is_second else self
        return head

    def response_fields(self, exchange: Exchange, target: Target, head: ResponseHead) -> bytes:
        """Return the fields of a response, rewritten for the client."""
        fields = head.fields
        if head.needs_rewrite:
            authority = exchange.request.authority.encode("latin-1")
            fields = self._relocation.rewrite(fields, target.authority.encode("ascii"), authority)
        if self.sticky is not None:
            cookie = find_cookie(exchange.request.fields.get(b"cookie", b""), self._sticky_name)
            if cookie != target.cookie:
                sticky = self.sticky
                fields += cookie_line(self._sticky_name, target.cookie, sticky)
        return fields

    def _write_head(
        self,
        request: Request,
        scheme: str,
        client_ip: str,
        target: Target,
        exchange: Exchange | None,
        length: int | None = None,
    ) -> bytes:
        # hot: proxy-varied
        settings, changes = self.settings, self.settings.changes
        prepared = prepare_fields(request.block)
        if prepared.is_loop:
            raise BadRequest("the request has passed this server before: a loop", 508, settings.pass_key)
        if self._keeps_path:
            line = _request_lines[request.method, request.path, request.query, request.has_query]
        else:
            line = f"{request.method} {self._request_target(request)} HTTP/1.1\r\n".encode("latin-1")
        if settings.rule.preserve_host and request.authority:
            fields = f"Host: {request.authority}\r\n".encode("latin-1")
        else:
            fields = target.host_line
        nearest_ip = client_ip
        if settings.trusted is not None and exchange is not None and exchange.peer_ip in settings.trusted:
            nearest_ip = exchange.peer_ip
            fields += trusted_fields(request, prepared, scheme, client_ip, nearest_ip)
        else:
            fields += untrusted_fields(request, prepared, scheme, client_ip)
        if prepared.has_references and settings.rule.rewrite_location:
            fields = self._references(request, scheme, target).rewrite(fields)
        if settings.rule.via:
            fields += via_line(request)
        if settings.rule.forwarded:
            fields += forwarded_line(request, scheme, nearest_ip)
        if changes is not None:
            fields = changes.apply_fixed(fields) if exchange is None else changes.apply(exchange, fields)
        if exchange is not None and exchange.trace is not None:
            fields = traced_fields(fields, exchange.trace)
        upgrade = _upgrade_for(request, target) if request.upgrade else b""
        close = not settings.client.pool_size
        if length is not None:
            fields = remove_fields(fields, b"trailer".__eq__)
        return line + fields + framing_lines(request, prepared, close=close, upgrade=upgrade, length=length)

    def _request_target(self, request: Request) -> str:
        """Return the request target for an upstream with other paths than the client's."""
        settings = self.settings
        path = request.path
        merges = settings.rule.merge_slashes
        if not merges and (kept := path_with_slashes(request.target, path)).startswith(f"{settings.strip}/"):
            path = kept
        return self._map_path(path, f"?{request.query}" if request.has_query else "")

    def _map_path(self, path: str, query: str = "") -> str:
        """Return the upstream's path and query for those of the client."""
        settings = self.settings
        strip, merges = settings.strip, settings.rule.merge_slashes
        if strip and _is_below(path, strip):
            path = "/" + path[len(strip) :].lstrip("/")
        for pattern, replacement in settings.rewrites:
            new_path, count = pattern.subn(replacement, path, count=1)
            if count:
                new_path, mark, added = new_path.partition("?")
                path = canonical_path(new_path.encode("utf-8"), merge_slashes=merges)
                if mark:
                    query = f"?{added}&{query[1:]}" if query[1:] else f"?{added}"
                break
        return settings.base + path + query

    def _references(self, request: Request, scheme: str, target: Target) -> References:
        """Return what changes the URIs in a request's fields to those that the upstream knows."""
        rule, strip = self.settings.rule, self.settings.strip
        authority = request.authority.encode("latin-1")

        def path(known: str) -> str:
            if rule.rewrite_location == "host":
                return known
            return self._map_path(known) if not strip or _is_below(known, strip) else ""

        host = authority if rule.preserve_host and authority else target.authority.encode("ascii")
        origin = (b"https://" if target.tls is not None else b"http://") + host
        return References(scheme, authority, origin, path, f"{self.settings.key}.rewrite_location", rule.merge_slashes)


def traced_fields(fields: bytes, trace: Trace) -> bytes:
    """Return field lines with the trace of their request."""
    return b"%btraceparent: %b\r\n" % (remove_fields(fields, trace.replaced.__contains__), trace.traceparent())


def _upgrade_for(request: Request, target: Target) -> bytes:
    """Return the value of Upgrade to forward to a target; empty for none. Raises: BadRequest."""
    upgrade = upgrade_of(request)
    if upgrade and upgrade != b"websocket" and target.address.scheme == "h2c":
        raise BadRequest("no upgrade but a WebSocket to h2c targets", 501, "RFC 9113 §8.6")
    return upgrade


def _is_below(path: str, prefix: str) -> bool:
    return path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/")
