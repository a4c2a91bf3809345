"""The keys of handler `proxy`."""

# ruff: noqa: RUF012 - msgspec copies defaults for each struct

from __future__ import annotations

from typing import Annotated

from npserver.config.section import D, HeaderMap, Section
from npserver.config.units import Seconds, Size
from npserver.upstream.config import Balance, UpstreamTls
from npserver.web.config import HttpRule


class ProxyTimeouts(Section, frozen=True, kw_only=True):
    """How long an upstream may take, each named by what it measures."""

    connect: Annotated[Seconds | None, D("to connect; default: the upstream's `proxy_timeout_seconds`")] = None
    send: Annotated[Seconds, D("while the upstream takes none of the request")] = Seconds(60)
    response: Annotated[Seconds, D("end of the request to the first byte of the response")] = Seconds(60)
    read: Annotated[Seconds, D("between two reads of the response")] = Seconds(60)
    tunnel_idle: Annotated[Seconds, D("while a tunnel (WebSocket) is silent both ways")] = Seconds(3600)


class ProxyRule(HttpRule, tag_field="handler", tag="proxy", frozen=True, kw_only=True):
    """Pass requests on to an upstream."""

    proxy_pass: Annotated[
        str, D("`http https unix` target, with or without a path, or `upstream://name`", needs="upstreams")
    ]
    strip_prefix: Annotated[bool | str, D("take the rule's path prefix (or this one) off")] = False
    rewrite: Annotated[dict[str, str], D("regular expression on the path to its replacement")] = {}
    preserve_host: Annotated[bool, D("pass the client's Host on instead of the target's")] = False
    forwarded: Annotated[bool, D("send `Forwarded` (RFC 7239) beside `X-Forwarded-*`")] = False
    headers: Annotated[HeaderMap, D("changes to the request's header")] = {}
    timeout: Annotated[Seconds | None, D("for `timeouts.response` and `timeouts.read` at once")] = None
    timeouts: Annotated[ProxyTimeouts, D("how long the upstream may take")] = ProxyTimeouts()
    balance: Annotated[Balance | None, D("default: the upstream's")] = None
    retries: Annotated[int | None, D("default: the upstream's", ge=0, le=100)] = None
    keepalive: Annotated[bool | None, D("default: the upstream's")] = None
    keepalive_pool_size: Annotated[int | None, D("default: the upstream's", ge=0)] = None
    keepalive_idle_timeout: Annotated[Seconds | None, D("default: the upstream's")] = None
    tls: Annotated[UpstreamTls | None, D("for an https target; default: the upstream's")] = None
    buffer_size: Annotated[Size, D("bytes held per direction before the sender is paused")] = Size(64 << 10)
    abort_on_close: Annotated[bool, D("a client that ends its side of the connection wants no answer any more")] = False
