"""The keys of `dispatch`: one struct per handler, told apart by `handler`."""

# ruff: noqa: RUF012 - msgspec copies defaults for each struct

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import field

from npserver.config.section import D, HeaderMap, OneOrMany, Section
from npserver.config.units import Seconds, Size
from npserver.config.upstream import Balance, UpstreamTls


class Compression(Section, frozen=True, kw_only=True):
    """Compression of static answers."""

    enabled: Annotated[bool, D("compress at all")] = True
    codings: Annotated[list[Literal["zstd", "br", "gzip"]], D("codings offered, preferred first")] = field(
        default_factory=lambda: ["zstd", "br", "gzip"]
    )
    min_size: Annotated[Size, D("smaller files are sent as they are")] = Size(256)
    max_size: Annotated[Size, D("larger files are sent as they are")] = Size(5 << 20)
    types: Annotated[list[str], D("media types compressed beside the built-in ones, `text/*` allowed")] = []


class BasicAuth(Section, frozen=True, kw_only=True):
    """Names and passwords asked for by the browser (RFC 7617)."""

    users: Annotated[dict[str, str], D("name to password hash, as `npserver hash-password` prints it")]
    realm: Annotated[str, D("shown in the browser's dialogue")] = "npserver"


class Rule(Section, frozen=True, kw_only=True):
    """What all rules have in common."""

    listener: Annotated[OneOrMany | None, D("names or URIs of the listeners; default: all that speak HTTP")] = None
    allow: Annotated[OneOrMany, D("networks let in: names from `networks`, CIDR; others are refused")] = []
    deny: Annotated[OneOrMany, D("networks refused")] = []


class HttpRule(Rule, frozen=True, kw_only=True):
    """What all rules about HTTP requests have in common."""

    path: Annotated[str, D("`/api/**` for a prefix, else exactly this path; default: everything")] = "/**"
    host: Annotated[OneOrMany | None, D("host names, `*.` wildcards allowed; default: any")] = None
    response_headers: Annotated[HeaderMap, D("changes to the response's header")] = {}
    basic_auth: Annotated[BasicAuth | None, D("ask for a name and a password")] = None
    max_body_size: Annotated[Size | None, D("default: `limits.max_body_size`")] = None
    error_pages: Annotated[dict[str, str], D('files by status: "404", "5xx"; default: the global ones')] = {}


class StaticRule(HttpRule, tag_field="handler", tag="static", frozen=True, kw_only=True):
    """Serve files from a directory."""

    root: Annotated[str, D("the directory; the rule's path prefix is taken off first")] = "./public"
    index: Annotated[OneOrMany, D("files tried for a directory")] = "index.html"
    browse: Annotated[bool, D("list directories without an index")] = False
    fallback: Annotated[
        str | None, D("file (below root) answered with 200 where nothing is found: single-page apps")
    ] = None
    try_files: Annotated[list[str], D("paths tried in turn, `$path` is the request's; `=404` ends with a status")] = []
    cache_control: Annotated[str | None, D("Cache-Control header")] = None
    mime: Annotated[dict[str, str], D("media types by extension; beside the global `mime`")] = {}
    gzip: Annotated[bool | Compression | None, D("compression; default: the global `gzip`")] = None
    precompressed: Annotated[bool, D("use `.br .zst .gz` files lying beside the file")] = True
    follow_symlinks: Annotated[bool, D("links that leave root are followed")] = False
    dotfiles: Annotated[bool, D("serve names that start with a dot; `.well-known` is always served")] = False
    headers: Annotated[HeaderMap, D("another name for `response_headers`")] = {}


class ProxyTimeouts(Section, frozen=True, kw_only=True):
    """How long an upstream may take, each named by what it measures."""

    connect: Annotated[Seconds | None, D("to connect; default: the upstream's `proxy_timeout_seconds`")] = None
    send: Annotated[Seconds, D("while the upstream takes none of the request")] = Seconds(60)
    response: Annotated[Seconds, D("end of the request to the first byte of the response")] = Seconds(60)
    read: Annotated[Seconds, D("between two reads of the response")] = Seconds(60)
    tunnel_idle: Annotated[Seconds, D("while a tunnel (WebSocket) is silent both ways")] = Seconds(3600)


class ProxyRule(HttpRule, tag_field="handler", tag="proxy", frozen=True, kw_only=True):
    """Pass requests on to an upstream."""

    proxy_pass: Annotated[str, D("`http https unix` target, with or without a path, or `upstream://name`")]
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


class ForwardRule(Rule, tag_field="handler", tag="forward", frozen=True, kw_only=True):
    """Relay a connection or a datagram session as it is."""

    forward_to: Annotated[str, D("`tcp udp ssl unix unixgram` target or `upstream://name`")]
    mode: Annotated[Literal["stream", "datagram"] | None, D("bytes, or messages whose boundaries are kept")] = None
    framing: Annotated[Literal["raw", "line", "length16", "length32"], D("how messages are told apart on a stream")] = (
        "raw"
    )
    max_message_size: Annotated[Size, D("longest message of a framing")] = Size(65507)
    timeout: Annotated[Seconds | None, D("silence both ways that ends it; default: 300, UDP 60")] = None
    connect_timeout: Annotated[Seconds, D("to connect to a target")] = Seconds(5)
    max_connections: Annotated[int, D("connections or sessions at once over all workers, 0: `limits`", ge=0)] = 0
    buffer_size: Annotated[Size, D("bytes held per direction before the sender is paused")] = Size(64 << 10)
    send_proxy: Annotated[Literal["v1", "v2"] | None, D("PROXY protocol header sent first")] = None
    sni: Annotated[
        OneOrMany | None, D("TLS server names (not terminated) this rule is for, `*.` wildcards allowed")
    ] = None
    from_: Annotated[OneOrMany, D("client networks this rule is for")] = field(default_factory=list, name="from")
    balance: Annotated[Balance | None, D("default: the upstream's")] = None
    tls: Annotated[UpstreamTls, D("for an ssl target")] = UpstreamTls()


class DnsRule(HttpRule, tag_field="handler", tag="dns", frozen=True, kw_only=True):
    """Answer DNS from the `dns` section: over UDP, TCP, TLS (ssl listeners) or HTTPS (RFC 8484)."""

    path: Annotated[str, D("path of DNS over HTTPS")] = "/dns-query"
    public: Annotated[bool, D("allow a wildcard address; answers are then rate-limited")] = False
    allow_transfer: Annotated[OneOrMany, D("networks that may ask for a whole zone (AXFR) over TCP")] = []
    timeout: Annotated[Seconds, D("silence on a TCP or TLS connection that ends it")] = Seconds(10)
    rate_limit: Annotated[
        int, D("equal answers per second and client network (/24, /56) on public listeners", ge=1)
    ] = 20
    rate_limit_slip: Annotated[int, D("every so many-th limited answer is sent truncated instead of dropped", ge=0)] = 2


class RedirectRule(HttpRule, tag_field="handler", tag="redirect", frozen=True, kw_only=True):
    """Send the client elsewhere."""

    to: Annotated[str, D("where to: `https://$host$path$query`")]
    status: Annotated[Literal[301, 302, 303, 307, 308], D("the status code")] = 308
    headers: Annotated[HeaderMap, D("another name for `response_headers`")] = {}


class RespondRule(HttpRule, tag_field="handler", tag="respond", frozen=True, kw_only=True):
    """Give a fixed answer."""

    status: Annotated[int, D("the status code", ge=200, le=599)] = 200
    body: Annotated[str, D("the body; `$variables` are filled in")] = ""
    content_type: Annotated[str, D("Content-Type header")] = "text/plain; charset=utf-8"
    headers: Annotated[HeaderMap, D("another name for `response_headers`")] = {}


class StatusRule(HttpRule, tag_field="handler", tag="status", frozen=True, kw_only=True):
    """Show npserver's own counters: a page, JSON, and Prometheus metrics by Accept or `?format=`."""

    path: Annotated[str, D("path of the page")] = "/status"


AnyRule = StaticRule | ProxyRule | ForwardRule | DnsRule | RedirectRule | RespondRule | StatusRule
