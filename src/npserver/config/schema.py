"""Every key of the config file: its type, default, unit and meaning.

One frozen struct per JSON object. The decoder (`config.decode`) fills them, `npserver schema` and the
configuration reference in `docs/` are generated from them, and `build` reads them. No behaviour lives here.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from npserver.config.units import Seconds, Size




def D(text: str) -> Meta:  # noqa: N802 - reads as a keyword beside each type
    """The description of one key."""
    return Meta(description=text)


class Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all config objects: immutable, unknown keys are errors."""


#: Changes to header fields; values may hold `$variables`. `"Name": "v"` sets (a list: several fields), `"+Name": "v"`
#: adds beside what is there, `"Name": null` takes away.
HeaderMap = dict[str, str | list[str] | None]
OneOrMany = str | list[str]


# ── Listeners and TLS ────────────────────────────────────────────────────────────────────────────


class Tls(Section, kw_only=True):
    """A certificate and how TLS is spoken with it (RFC 8446)."""

    cert: Annotated[str, D("PEM file: the certificate, then its chain")]
    key: Annotated[str, D("PEM file: the certificate's private key")]
    names: Annotated[
        list[str], D("server names (SNI) that get this certificate, `*.` wildcards allowed; default: those in it")
    ] = []
    client_ca: Annotated[str | None, D("PEM file: clients must show a certificate that this CA signed")] = None
    client_auth: Annotated[Literal["require", "request"], D("whether a client without a certificate is refused")] = (
        "require"
    )
    min_version: Annotated[Literal["1.2", "1.3"], D("oldest TLS version spoken")] = "1.2"


class Listen(Section, kw_only=True):
    """A socket that npserver listens on."""

    uri: Annotated[str, D("`http https tcp udp ssl unix unixgram`, as `http://:8080`, `unix:///tmp/app.sock`")]
    name: Annotated[str | None, D("the name that rules use; the URI serves as well")] = None
    backlog: Annotated[int | None, D("connections the kernel queues; default: the global `backlog`")] = None
    tls: Annotated[Tls | list[Tls] | None, D("certificates of this listener alone; default: the global `tls`")] = None
    mode: Annotated[str | None, D('permissions of a Unix socket, octal: "0660"')] = None
    accept_proxy: Annotated[
        OneOrMany | None,
        D("networks whose connections must start with a PROXY protocol header (v1 or v2); others are refused"),
    ] = None


class Timeouts(Section, kw_only=True):
    """How long a client may take, each named by what it measures."""

    header: Annotated[Seconds, D("first to last byte of a request's head")] = Seconds(10)
    body: Annotated[Seconds, D("between two reads of a request's body")] = Seconds(30)
    idle: Annotated[Seconds, D("between two requests on a connection")] = Seconds(60)
    write: Annotated[Seconds, D("while a client takes none of what is sent to it")] = Seconds(60)
    tls_handshake: Annotated[Seconds, D("from accept to a finished TLS handshake")] = Seconds(10)
    proxy_header: Annotated[Seconds, D("from accept to a complete PROXY protocol header")] = Seconds(5)
    shutdown: Annotated[Seconds, D("how long exchanges in flight may finish when stopping or draining")] = Seconds(30)
    max_connections_per_ip: Annotated[int, D("connections one client address may hold, 0 for no limit")] = 500


class Limits(Section, kw_only=True):
    """Bounds on what clients may send."""

    max_body_size: Annotated[Size, D("largest request body, else 413")] = Size(64 << 20)
    max_url_size: Annotated[Size, D("longest request target, else 414")] = Size(4096)
    max_headers: Annotated[int, D("most header fields, else 431")] = 128
    max_header_size: Annotated[Size, D("largest request head, else 431")] = Size(64 << 10)
    max_connections: Annotated[int, D("connections served at once over all workers, else 503")] = 10_000
    max_requests_per_connection: Annotated[int, D("requests before a connection is closed")] = 10_000
    max_ranges: Annotated[int, D("byte ranges answered at once; more get the whole file")] = 16


class Compression(Section, kw_only=True):
    """Compression of static answers."""

    enabled: Annotated[bool, D("compress at all")] = True
    codings: Annotated[list[Literal["zstd", "br", "gzip"]], D("codings offered, preferred first")] = field(
        default_factory=lambda: ["zstd", "br", "gzip"]  # type: ignore[arg-type]
    )
    min_size: Annotated[Size, D("smaller files are sent as they are")] = Size(256)
    max_size: Annotated[Size, D("larger files are sent as they are")] = Size(5 << 20)
    types: Annotated[list[str], D("media types compressed beside the built-in ones, `text/*` allowed")] = []


class FileCache(Section, kw_only=True):
    """The in-memory cache of small static answers, per worker."""

    max_size: Annotated[Size, D("memory for all cached answers, 0 for none")] = Size(64 << 20)
    max_file_size: Annotated[Size, D("largest file kept")] = Size(64 << 10)
    check_interval: Annotated[Seconds, D("how old a look at the file may be")] = Seconds(1)


# ── Upstreams ────────────────────────────────────────────────────────────────────────────────────

Balance = Literal["round-robin", "random", "ip-hash", "conn-hash", "least-conn", "two-choices"]


class Target(Section, kw_only=True):
    """One address of an upstream."""

    uri: Annotated[str, D("`http https tcp udp ssl unix unixgram`, as `http://10.0.0.1:8001`")]
    weight: Annotated[int, Meta(ge=0, le=1000), D("share of the traffic relative to the others")] = 1
    backup: Annotated[bool, D("used only while no other target is healthy")] = False
    max_connections: Annotated[int, D("connections (or requests in flight) at once, 0 for no limit")] = 0
    send_proxy: Annotated[Literal["v1", "v2"] | None, D("PROXY protocol header sent first")] = None


class Expect(Section, kw_only=True):
    """What a health check's answer must look like."""

    status: Annotated[int | str | list[int | str], D('status codes or ranges: 200, "200-399"')] = "200-399"
    body: Annotated[str | None, D("text that the first 64 KiB of the body must contain")] = None


class HealthCheck(Section, kw_only=True):
    """Active health checks of every target of an upstream."""

    type: Annotated[Literal["http", "tcp"] | None, D("default: http when the targets speak HTTP")] = None
    path: Annotated[str, D("path asked for")] = "/"
    interval: Annotated[Seconds, D("between two checks of a target")] = Seconds(10)
    timeout: Annotated[Seconds, D("for one whole check")] = Seconds(5)
    expect: Annotated[Expect, D("what counts as healthy")] = Expect()
    rise: Annotated[int, Meta(ge=1), D("good checks in a row that bring a target back")] = 2
    fall: Annotated[int, Meta(ge=1), D("bad checks in a row that take a target out")] = 3
    port: Annotated[int | None, D("port asked instead of the target's own")] = None
    host: Annotated[str | None, D("Host header; default: the target's own")] = None


class Sticky(Section, kw_only=True):
    """Sessions kept on their target by a cookie."""

    cookie: Annotated[str, D("name of the cookie")] = "npserver_target"
    max_age: Annotated[Seconds | None, D("life of the cookie; default: the browser's session")] = None
    secure: Annotated[bool, D("sent back over HTTPS only")] = False


class UpstreamTls(Section, kw_only=True):
    """How TLS is spoken to https and ssl targets."""

    ca: Annotated[str | None, D("PEM file of the CAs trusted; default: the system's")] = None
    server_name: Annotated[str | None, D("name sent (SNI) and checked; default: the target's host")] = None
    cert: Annotated[str | None, D("PEM file: our certificate for the upstream")] = None
    key: Annotated[str | None, D("PEM file: our certificate's key")] = None
    insecure: Annotated[bool, D("do not verify the upstream's certificate")] = False


class Upstream(Section, kw_only=True):
    """A named group of targets that share the traffic."""

    targets: Annotated[list[str | Target], D("the addresses, as URIs or objects")]
    balance: Annotated[Balance, D("how a target is chosen")] = "round-robin"
    health_check: Annotated[HealthCheck | None, D("active checks; default: none, failures only")] = None
    sticky: Annotated[Sticky | None, D("keep a client on its target by a cookie")] = None
    slow_start: Annotated[Seconds, D("time over which a target that came back gets its full share")] = Seconds(0)
    proxy_timeout_seconds: Annotated[Seconds, D("to connect to a target")] = Seconds(5)
    retry_timeout_seconds: Annotated[Seconds, D("a target that failed is left alone for so long")] = Seconds(30)
    retries: Annotated[int, Meta(ge=0, le=100), D("further targets tried for one request")] = 2
    retry_on: Annotated[
        list[Literal["connect", "send", "timeout", "502", "503", "504"]],
        D("failures after which a repeatable request is tried again"),
    ] = field(default_factory=lambda: ["connect", "send"])  # type: ignore[arg-type]
    resolve_interval: Annotated[Seconds, D("between two look-ups of targets given by name")] = Seconds(30)
    keepalive: Annotated[bool, D("keep connections to the targets for later requests")] = True
    keepalive_pool_size: Annotated[int, D("idle connections kept per target and worker")] = 64
    keepalive_idle_timeout: Annotated[Seconds, D("idle connections are closed after so long")] = Seconds(55)
    tls: Annotated[UpstreamTls, D("for https and ssl targets")] = UpstreamTls()


# ── Rules ────────────────────────────────────────────────────────────────────────────────────────


class BasicAuth(Section, kw_only=True):
    """Names and passwords asked for by the browser (RFC 7617)."""

    users: Annotated[dict[str, str], D("name to password hash, as `npserver hash-password` prints it")]
    realm: Annotated[str, D("shown in the browser's dialogue")] = "npserver"


class Rule(Section, kw_only=True):
    """What all rules have in common."""

    listener: Annotated[OneOrMany | None, D("names or URIs of the listeners; default: all that speak HTTP")] = None
    allow: Annotated[OneOrMany, D("networks let in: names from `networks`, CIDR; others are refused")] = []
    deny: Annotated[OneOrMany, D("networks refused")] = []


class HttpRule(Rule, kw_only=True):
    """What all rules about HTTP requests have in common."""

    path: Annotated[str, D("`/api/**` for a prefix, else exactly this path; default: everything")] = "/**"
    host: Annotated[OneOrMany | None, D("host names, `*.` wildcards allowed; default: any")] = None
    response_headers: Annotated[HeaderMap, D("changes to the response's header")] = {}
    basic_auth: Annotated[BasicAuth | None, D("ask for a name and a password")] = None
    max_body_size: Annotated[Size | None, D("default: `limits.max_body_size`")] = None
    error_pages: Annotated[dict[str, str], D('files by status: "404", "5xx"; default: the global ones')] = {}


class StaticRule(HttpRule, tag_field="handler", tag="static", kw_only=True):
    """Serve files from a directory."""

    root: Annotated[str, D("the directory; the rule's path prefix is taken off first")] = "./public"
    index: Annotated[OneOrMany, D("files tried for a directory")] = "index.html"
    browse: Annotated[bool, D("list directories without an index")] = False
    fallback: Annotated[str | None, D("file (below root) answered with 200 where nothing is found: single-page apps")] = (
        None
    )
    try_files: Annotated[list[str], D("paths tried in turn, `$path` is the request's; `=404` ends with a status")] = []
    cache_control: Annotated[str | None, D("Cache-Control header")] = None
    mime: Annotated[dict[str, str], D("media types by extension; beside the global `mime`")] = {}
    gzip: Annotated[bool | Compression | None, D("compression; default: the global `gzip`")] = None
    precompressed: Annotated[bool, D("use `.br .zst .gz` files lying beside the file")] = True
    follow_symlinks: Annotated[bool, D("links that leave root are followed")] = False
    dotfiles: Annotated[bool, D("serve names that start with a dot; `.well-known` is always served")] = False
    headers: Annotated[HeaderMap, D("another name for `response_headers`")] = {}


class ProxyTimeouts(Section, kw_only=True):
    """How long an upstream may take, each named by what it measures."""

    connect: Annotated[Seconds | None, D("to connect; default: the upstream's `proxy_timeout_seconds`")] = None
    send: Annotated[Seconds, D("while the upstream takes none of the request")] = Seconds(60)
    response: Annotated[Seconds, D("end of the request to the first byte of the response")] = Seconds(60)
    read: Annotated[Seconds, D("between two reads of the response")] = Seconds(60)
    tunnel_idle: Annotated[Seconds, D("while a tunnel (WebSocket) is silent both ways")] = Seconds(3600)


class ProxyRule(HttpRule, tag_field="handler", tag="proxy", kw_only=True):
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
    retries: Annotated[int | None, D("default: the upstream's")] = None
    keepalive: Annotated[bool | None, D("default: the upstream's")] = None
    keepalive_pool_size: Annotated[int | None, D("default: the upstream's")] = None
    keepalive_idle_timeout: Annotated[Seconds | None, D("default: the upstream's")] = None
    tls: Annotated[UpstreamTls | None, D("for an https target; default: the upstream's")] = None
    buffer_size: Annotated[Size, D("bytes held per direction before the sender is paused")] = Size(64 << 10)


class ForwardRule(Rule, tag_field="handler", tag="forward", kw_only=True):
    """Relay a connection or a datagram session as it is."""

    forward_to: Annotated[str, D("`tcp udp ssl unix unixgram` target or `upstream://name`")]
    mode: Annotated[Literal["stream", "datagram"] | None, D("bytes, or messages whose boundaries are kept")] = None
    framing: Annotated[
        Literal["raw", "line", "length16", "length32"], D("how messages are told apart on a stream")
    ] = "raw"
    max_message_size: Annotated[Size, D("longest message of a framing")] = Size(65507)
    timeout: Annotated[Seconds | None, D("silence both ways that ends it; default: 300, UDP 60")] = None
    connect_timeout: Annotated[Seconds, D("to connect to a target")] = Seconds(5)
    max_connections: Annotated[int, D("connections or sessions at once over all workers, 0: `limits`")] = 0
    buffer_size: Annotated[Size, D("bytes held per direction before the sender is paused")] = Size(64 << 10)
    send_proxy: Annotated[Literal["v1", "v2"] | None, D("PROXY protocol header sent first")] = None
    sni: Annotated[OneOrMany | None, D("TLS server names (not terminated) this rule is for, `*.` wildcards allowed")] = (
        None
    )
    from_: Annotated[OneOrMany, D("client networks this rule is for")] = field(default_factory=list, name="from")
    balance: Annotated[Balance | None, D("default: the upstream's")] = None
    tls: Annotated[UpstreamTls, D("for an ssl target")] = UpstreamTls()


class DnsRule(HttpRule, tag_field="handler", tag="dns", kw_only=True):
    """Answer DNS from the `dns` section: over UDP, TCP, TLS (ssl listeners) or HTTPS (RFC 8484)."""

    path: Annotated[str, D("path of DNS over HTTPS")] = "/dns-query"
    public: Annotated[bool, D("allow a wildcard address; answers are then rate-limited")] = False
    allow_transfer: Annotated[OneOrMany, D("networks that may ask for a whole zone (AXFR) over TCP")] = []
    timeout: Annotated[Seconds, D("silence on a TCP or TLS connection that ends it")] = Seconds(10)
    rate_limit: Annotated[int, D("equal answers per second and client network (/24, /56) on public listeners")] = 20
    rate_limit_slip: Annotated[int, D("every so many-th limited answer is sent truncated instead of dropped")] = 2


class RedirectRule(HttpRule, tag_field="handler", tag="redirect", kw_only=True):
    """Send the client elsewhere."""

    to: Annotated[str, D("where to: `https://$host$path$query`")]
    status: Annotated[Literal[301, 302, 303, 307, 308], D("the status code")] = 308
    headers: Annotated[HeaderMap, D("another name for `response_headers`")] = {}


class RespondRule(HttpRule, tag_field="handler", tag="respond", kw_only=True):
    """Give a fixed answer."""

    status: Annotated[int, Meta(ge=200, le=599), D("the status code")] = 200
    body: Annotated[str, D("the body; `$variables` are filled in")] = ""
    content_type: Annotated[str, D("Content-Type header")] = "text/plain; charset=utf-8"
    headers: Annotated[HeaderMap, D("another name for `response_headers`")] = {}


class StatusRule(HttpRule, tag_field="handler", tag="status", kw_only=True):
    """Show npserver's own counters: a page, JSON, and Prometheus metrics by Accept or `?format=`."""

    path: Annotated[str, D("path of the page")] = "/status"


AnyRule = StaticRule | ProxyRule | ForwardRule | DnsRule | RedirectRule | RespondRule | StatusRule


# ── DNS ──────────────────────────────────────────────────────────────────────────────────────────

#: The records of one name: type to a string, an object or a list of them; "TTL" to seconds.
#: Checked by `dns.record`, which knows each type's form.
DnsRecords = dict[str, object]
DnsZone = dict[str, DnsRecords]


class DnsView(Section, kw_only=True):
    """Records that only some clients see."""

    from_: Annotated[OneOrMany, D("the networks that see them")] = field(name="from")
    dns: Annotated[DnsZone, D("their records, instead of the global `dns`")]


class DnsForward(Section, kw_only=True):
    """Where names outside our zones are looked up, and for whom."""

    resolvers: Annotated[list[str], D("addresses, as `9.9.9.9`, `[2620:fe::fe]:53`, `udp://1.1.1.1:53`")]
    allow: Annotated[OneOrMany, D("networks that may ask")] = field(
        default_factory=lambda: ["127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"]
    )
    timeout: Annotated[Seconds, D("for one resolver")] = Seconds(2)
    cache_size: Annotated[int, D("answers remembered per worker, 0 for none")] = 1000


# ── The whole ────────────────────────────────────────────────────────────────────────────────────

Level = Literal["trace", "debug", "info", "warn", "error", "fatal", "off"]


class Logging(Section, kw_only=True):
    """What is written where."""

    format: Annotated[Literal["pretty", "json", "combined"], D("form of the access log; json: of all logs")] = "pretty"
    access_log: Annotated[str, D("`stdout`, `stderr`, `off` or a file")] = "stdout"
    dns_queries: Annotated[bool, D("log every DNS query too")] = False
    level: Annotated[Level, D("of all areas not named below")] = "info"
    config: Annotated[Level | None, D("loading and checking the config")] = None
    server: Annotated[Level | None, D("processes and listeners")] = None
    http: Annotated[Level | None, D("requests")] = None
    static: Annotated[Level | None, D("files")] = None
    proxy: Annotated[Level | None, D("proxying")] = None
    upstream: Annotated[Level | None, D("health and resolution of targets")] = None
    forward: Annotated[Level | None, D("forwarded connections and sessions")] = None
    dns: Annotated[Level | None, D("the name server")] = None
    tls: Annotated[Level | None, D("certificates and handshakes")] = None


class Config(Section, kw_only=True):
    """The config file."""

    listen: Annotated[list[str | Listen], D("the sockets, as URIs or objects")] = []
    tls: Annotated[Tls | list[Tls] | None, D("certificates of all https and ssl listeners, chosen by SNI")] = None
    backlog: Annotated[int, Meta(ge=1, le=65535), D("connections the kernel queues per listener and worker")] = 2048
    workers: Annotated[int | None, D("worker processes; 0: everything in one process; default: usable CPUs")] = None
    user: Annotated[str | None, D("run as this user once the sockets are bound")] = None
    group: Annotated[str | None, D("run as this group; default: the user's")] = None
    dispatch: Annotated[list[AnyRule], D("the rules")] = []
    upstreams: Annotated[dict[str, Upstream], D("groups of targets by name")] = {}
    networks: Annotated[dict[str, list[str]], D("lists of CIDR networks by name")] = {}
    trusted_proxies: Annotated[OneOrMany, D("networks whose X-Forwarded-For and Forwarded are believed")] = []
    dns: Annotated[DnsZone, D("records by name")] = {}
    dns_ttl: Annotated[int, Meta(ge=0, le=2**31 - 1), D("seconds a record may be cached, where it has no TTL")] = 300
    dns_zones: Annotated[list[str], D("apexes of our zones; default: derived from the names")] = []
    dns_views: Annotated[list[DnsView], D("other records for some clients; the first match counts")] = []
    dns_auto_ptr: Annotated[bool, D("make PTR records from A and AAAA")] = False
    dns_forward: Annotated[DnsForward | list[str] | None, D("resolvers for names outside our zones")] = None
    timeouts: Annotated[Timeouts, D("how long clients may take")] = Timeouts()
    limits: Annotated[Limits, D("bounds on what clients send")] = Limits()
    logging: Annotated[Logging, D("what is written where")] = Logging()
    gzip: Annotated[bool | Compression, D("compression of static answers")] = True
    file_cache: Annotated[FileCache, D("memory for small static answers")] = FileCache()
    mime: Annotated[dict[str, str], D('media types by extension: {"wasm": "application/wasm"}')] = {}
    error_pages: Annotated[dict[str, str], D('files by status: "404", "5xx"')] = {}
    server_header: Annotated[str | bool, D("the Server header; false: none")] = "npserver"
    root: Annotated[str | None, D("directory for listeners without rules; default: ./public, ./html, a welcome page")] = (
        None
    )
