"""The keys of handler `proxy`."""

# ruff: noqa: RUF012 - msgspec copies defaults for each struct

from __future__ import annotations

from typing import Annotated, Literal

from npserver.config.section import NO_LIMIT, D, HeaderMap, Section
from npserver.config.units import Seconds, Size
from npserver.upstream.config import Balance, UpstreamTls
from npserver.web.config import HttpRule, ProxiedCompression
from npserver.web.handlers.proxy.cache.config import ResponseCache


class UpstreamTimeouts(Section, frozen=True, kw_only=True):
    """Time limits for the upstream."""

    connect: Annotated[
        Seconds | None,
        D("time limit for connecting to a target; default: the upstream's `proxy_timeout_seconds`", zero=NO_LIMIT),
    ] = None
    send: Annotated[Seconds, D("how long the upstream may read nothing of a request being sent", zero=NO_LIMIT)] = (
        Seconds(60)
    )
    response: Annotated[Seconds, D("from the end of the request to the first byte of the response", zero=NO_LIMIT)] = (
        Seconds(60)
    )
    read: Annotated[Seconds, D("between two reads of the response", zero=NO_LIMIT)] = Seconds(60)


class ProxyTimeouts(UpstreamTimeouts, frozen=True, kw_only=True):
    """Time limits for the upstream."""

    tunnel_idle: Annotated[
        Seconds, D("how long a tunnel (WebSocket) or a gRPC call may carry no data in either direction", zero=NO_LIMIT)
    ] = Seconds(3600)


class RequestBuffering(Section, frozen=True, kw_only=True):
    """Where request bodies wait until they are whole."""

    memory: Annotated[Size, D("bytes of each body kept in memory; the rest goes to a file", zero="none")] = Size(
        256 << 10
    )
    directory: Annotated[
        str | None, D("directory of the files, which have no names; default: the system's, `$TMPDIR` or `/tmp`")
    ] = None


class ResponseBuffering(RequestBuffering, frozen=True, kw_only=True):
    """Where responses wait for clients that are slower than the upstream."""

    file: Annotated[
        Size, D("bytes of each response kept in a file; then the upstream is made to wait", zero="no file is used")
    ] = Size(1 << 30)


class MirrorSection(Section, frozen=True, kw_only=True):
    """Copies of requests, whose answers are thrown away."""

    to: Annotated[
        str, D("target of the copies: an `http`, `https`, `h2c` or `unix` URI, or `upstream://name`", needs="upstreams")
    ]
    share: Annotated[str, D("share of the requests that are copied, chosen at random")] = "100%"
    max_body: Annotated[Size, D("largest body of a request that is copied", zero="only requests without one")] = Size(
        64 << 10
    )
    max_requests: Annotated[int, D("copies of the rule on their way at once, per worker; more are dropped", ge=1)] = 100
    timeout: Annotated[Seconds, D("time limit for a copy and its answer")] = Seconds(30)


class ProxyRule(HttpRule, tag_field="handler", tag="proxy", frozen=True, kw_only=True):
    """Forward requests to an upstream (reverse proxy)."""

    elsewhere = {"http2": 'targets are "h2c://host:port", or https with "tls": { "http2": true }'}

    proxy_pass: Annotated[
        str,
        D(
            "target: an `http`, `https`, `h2c` or `unix` URI, with or without a path, or `upstream://name`",
            needs="upstreams",
        ),
    ]
    root: Annotated[
        str | None,
        D(
            "directory whose files are sent before the upstream is asked; the rule's path prefix is removed from the "
            "request path first; default: none"
        ),
    ] = None
    follow_symlinks: Annotated[bool, D("follow symbolic links that lead out of `root`")] = False
    cache_control: Annotated[str | None, D("value of the Cache-Control header of files; default: none")] = None
    split: Annotated[
        dict[str, str],
        D('shares of the clients that go to other upstreams: `{"upstream://new": "5%"}`; `proxy_pass` gets the rest'),
    ] = {}
    split_by: Annotated[
        str, D("what keeps a client with its upstream, with `$variables`; the address of the client where it is empty")
    ] = "$client_ip"
    mirror: Annotated[
        MirrorSection | None, D("send copies of requests to another upstream too, and throw its answers away")
    ] = None
    strip_prefix: Annotated[
        bool | str, D("remove the rule's path prefix from the request path, or the prefix given here")
    ] = False
    redirect_to_slash: Annotated[
        bool,
        D(
            "where `strip_prefix` removes the prefix of `path`: redirect GET and HEAD requests for the prefix alone to "
            "the prefix with a slash, so that relative links work"
        ),
    ] = True
    merge_slashes: Annotated[
        bool,
        D("merge repeated slashes in the request path; `false` forwards them, for keys of S3 and URLs within a path"),
    ] = True
    rewrite: Annotated[
        dict[str, str], D("replacements in the request path, by regular expression; `$1` stands for the first group")
    ] = {}
    rewrite_location: Annotated[
        Literal["host"] | bool,
        D(
            "change `Location`, `Content-Location` and `Refresh` of responses to what the client knows, and the URIs "
            "in `Destination` and `If` of WebDAV requests to what the upstream knows; `host`: only the host, not paths"
        ),
    ] = True
    rewrite_cookies: Annotated[
        Literal["host"] | bool,
        D(
            "change the Path and Domain of the upstream's cookies to what the client knows; `host`: only a Domain that "
            "is the target's host, so that cookies with `Path=/` reach all rules"
        ),
    ] = True
    preserve_host: Annotated[
        bool,
        D(
            "send the client's Host header instead of the target's: applications that compare it with Origin need it, "
            "such as Jupyter and code-server for WebSockets"
        ),
    ] = False
    forwarded: Annotated[bool, D("send `Forwarded` (RFC 7239) in addition to `X-Forwarded-*`")] = False
    via: Annotated[
        bool,
        D("send `Via` (RFC 9110 §7.6.3); nginx then does not compress its answers unless its `gzip_proxied` says so"),
    ] = False
    headers: Annotated[
        HeaderMap, D("changes to the request header; a value of null removes a field, a name like `+Via` adds one")
    ] = {}
    timeout: Annotated[Seconds | None, D("sets both `timeouts.response` and `timeouts.read`", zero=NO_LIMIT)] = None
    timeouts: Annotated[ProxyTimeouts, D("time limits for the upstream")] = ProxyTimeouts()
    balance: Annotated[Balance | None, D("load-balancing method; default: the upstream's")] = None
    retries: Annotated[
        int | None,
        D("number of further targets tried for one request; default: the upstream's", ge=0, le=100, zero="none"),
    ] = None
    keepalive: Annotated[bool | None, D("reuse connections to the targets; default: the upstream's")] = None
    keepalive_pool_size: Annotated[
        int | None,
        D("maximum number of idle connections kept, per target and worker; default: the upstream's", ge=0, zero="none"),
    ] = None
    keepalive_idle_timeout: Annotated[
        Seconds | None, D("time after which an idle connection is closed; default: the upstream's", zero=NO_LIMIT)
    ] = None
    tls: Annotated[UpstreamTls | None, D("TLS settings for https targets; default: the upstream's")] = None
    buffer_size: Annotated[Size, D("bytes buffered per direction before reading from the sender is paused")] = Size(
        64 << 10
    )
    request_buffering: Annotated[
        bool | RequestBuffering,
        D("receive the whole request body before a target is chosen, and send it with Content-Length"),
    ] = False
    response_buffering: Annotated[
        bool | ResponseBuffering,
        D("take responses from the upstream as fast as it sends, and keep what the client has not read yet"),
    ] = False
    gzip: Annotated[
        bool | ProxiedCompression | None,
        D(
            "compress the answers that the upstream has not compressed, with zstd, Brotli or gzip; default: `proxied` "
            "of the global `gzip`"
        ),
    ] = None
    cache: Annotated[
        bool | ResponseCache, D("store the upstream's responses, and answer further clients with them (RFC 9111)")
    ] = False
    abort_on_close: Annotated[bool, D("cancel the upstream request when the client half-closes its connection")] = False
