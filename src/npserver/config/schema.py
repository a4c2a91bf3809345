"""Every key of the config file: its type, default, unit and meaning.

One frozen struct per JSON object. The decoder (`config.decode`) fills them, `npserver schema` and the
configuration reference in `docs/` are generated from them, and `build` reads them. No behaviour lives here. The rules
are in `config.rules`, the upstreams in `config.upstream`; this module gives all of them.
"""

# ruff: noqa: RUF012 - msgspec copies defaults for each struct

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import field

from npserver.config.rules import (
    AnyRule,
    BasicAuth,
    Compression,
    DnsRule,
    ForwardRule,
    HttpRule,
    ProxyRule,
    ProxyTimeouts,
    RedirectRule,
    RespondRule,
    Rule,
    StaticRule,
    StatusRule,
)
from npserver.config.section import D, HeaderMap, OneOrMany, Section
from npserver.config.units import Seconds, Size
from npserver.config.upstream import Balance, Expect, HealthCheck, Sticky, Target, Upstream, UpstreamTls

__all__ = [
    "AnyRule",
    "Balance",
    "BasicAuth",
    "Compression",
    "Config",
    "DnsForward",
    "DnsRecords",
    "DnsRule",
    "DnsView",
    "DnsZone",
    "Expect",
    "FileCache",
    "ForwardRule",
    "HeaderMap",
    "HealthCheck",
    "HttpRule",
    "Level",
    "Limits",
    "Listen",
    "Logging",
    "OneOrMany",
    "ProxyRule",
    "ProxyTimeouts",
    "RedirectRule",
    "RespondRule",
    "Rule",
    "Section",
    "StaticRule",
    "StatusRule",
    "Sticky",
    "Target",
    "Timeouts",
    "Tls",
    "Upstream",
    "UpstreamTls",
]

# ── Listeners and TLS ────────────────────────────────────────────────────────────────────────────


class Tls(Section, frozen=True, kw_only=True):
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
    http2: Annotated[bool, D("offer HTTP/2 on `https` listeners (ALPN)")] = True


class Listen(Section, frozen=True, kw_only=True):
    """A socket that npserver listens on."""

    uri: Annotated[str, D("`http https tcp udp ssl unix unixgram`, as `http://:8080`, `unix:///tmp/app.sock`")]
    name: Annotated[str | None, D("the name that rules use; the URI serves as well")] = None
    backlog: Annotated[
        int | None, D("connections the kernel queues; default: the global `backlog`", ge=1, le=65535)
    ] = None
    tls: Annotated[Tls | list[Tls] | None, D("certificates of this listener alone; default: the global `tls`")] = None
    mode: Annotated[str | None, D('permissions of a Unix socket, octal: "0660"')] = None
    accept_proxy: Annotated[
        OneOrMany | None,
        D("networks whose connections must start with a PROXY protocol header (v1 or v2); others are refused"),
    ] = None


class Timeouts(Section, frozen=True, kw_only=True):
    """How long a client may take, each named by what it measures."""

    header: Annotated[Seconds, D("first to last byte of a request's head")] = Seconds(10)
    body: Annotated[Seconds, D("between two reads of a request's body")] = Seconds(30)
    idle: Annotated[Seconds, D("between two requests on a connection")] = Seconds(60)
    write: Annotated[Seconds, D("while a client takes none of what is sent to it")] = Seconds(60)
    tls_handshake: Annotated[Seconds, D("from accept to a finished TLS handshake")] = Seconds(10)
    proxy_header: Annotated[Seconds, D("from accept to a complete PROXY protocol header")] = Seconds(5)
    shutdown: Annotated[Seconds, D("how long exchanges in flight may finish when stopping or draining")] = Seconds(30)
    max_connections_per_ip: Annotated[int, D("connections one client address may hold, 0 for no limit", ge=0)] = 500


class Limits(Section, frozen=True, kw_only=True):
    """Bounds on what clients may send."""

    max_body_size: Annotated[Size, D("largest request body, else 413")] = Size(64 << 20)
    max_url_size: Annotated[Size, D("longest request target, else 414")] = Size(4096)
    max_headers: Annotated[int, D("most header fields, else 431", ge=1)] = 128
    max_header_size: Annotated[Size, D("largest request head, else 431")] = Size(64 << 10)
    max_connections: Annotated[int, D("connections served at once over all workers, else 503", ge=1)] = 10_000
    max_requests_per_connection: Annotated[int, D("requests before a connection is closed", ge=1)] = 10_000
    max_streams: Annotated[int, D("HTTP/2: requests at once on a connection", ge=1, le=2**31 - 1)] = 100
    max_resets: Annotated[
        int, D("HTTP/2: requests broken off in a minute before the connection is closed", ge=1, le=2**31 - 1)
    ] = 500
    max_control_frames: Annotated[
        int, D("HTTP/2: SETTINGS, PING and empty DATA frames in a minute before it is closed", ge=10, le=2**31 - 1)
    ] = 6000
    http2_window: Annotated[
        Size, D("HTTP/2: bytes of a body sent ahead of being taken; of all bodies of a connection, four times that")
    ] = Size(256 << 10)
    max_ranges: Annotated[int, D("byte ranges answered at once; more get the whole file", ge=0)] = 16


class FileCache(Section, frozen=True, kw_only=True):
    """The in-memory cache of small static answers, per worker."""

    max_size: Annotated[Size, D("memory for all cached answers, 0 for none")] = Size(64 << 20)
    max_file_size: Annotated[Size, D("largest file kept")] = Size(64 << 10)
    check_interval: Annotated[Seconds, D("how old a look at the file may be")] = Seconds(1)


# ── DNS ──────────────────────────────────────────────────────────────────────────────────────────

#: The records of one name: type to a string, an object or a list of them; "TTL" to seconds.
#: Checked by `dns.record`, which knows each type's form.
DnsRecords = dict[str, object]
DnsZone = dict[str, DnsRecords]


class DnsView(Section, frozen=True, kw_only=True):
    """Records that only some clients see."""

    from_: Annotated[OneOrMany, D("the networks that see them")] = field(name="from")
    dns: Annotated[DnsZone, D("their records, instead of the global `dns`")]


class DnsForward(Section, frozen=True, kw_only=True):
    """Where names outside our zones are looked up, and for whom."""

    resolvers: Annotated[list[str], D("addresses, as `9.9.9.9`, `[2620:fe::fe]:53`, `udp://1.1.1.1:53`")]
    allow: Annotated[OneOrMany, D("networks that may ask")] = field(
        default_factory=lambda: ["127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"]
    )
    timeout: Annotated[Seconds, D("for one resolver")] = Seconds(2)
    cache_size: Annotated[int, D("answers remembered per worker, 0 for none", ge=0)] = 1000


# ── The whole ────────────────────────────────────────────────────────────────────────────────────

Level = Literal["trace", "debug", "info", "warn", "error", "fatal", "off"]


class Logging(Section, frozen=True, kw_only=True):
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


class Config(Section, frozen=True, kw_only=True):
    """The config file."""

    schema_: Annotated[str | None, D("where editors find the JSON Schema; not used otherwise")] = field(
        default=None, name="$schema"
    )
    listen: Annotated[list[str | Listen], D("the sockets, as URIs or objects")] = []
    tls: Annotated[Tls | list[Tls] | None, D("certificates of all https and ssl listeners, chosen by SNI")] = None
    backlog: Annotated[int, D("connections the kernel queues per listener and worker", ge=1, le=65535)] = 2048
    workers: Annotated[
        int | None, D("worker processes; 0: everything in one process; default: usable CPUs", ge=0, le=1024)
    ] = None
    user: Annotated[str | None, D("run as this user once the sockets are bound")] = None
    group: Annotated[str | None, D("run as this group; default: the user's")] = None
    dispatch: Annotated[list[AnyRule], D("the rules")] = []
    upstreams: Annotated[dict[str, Upstream], D("groups of targets by name")] = {}
    networks: Annotated[dict[str, list[str]], D("lists of CIDR networks by name")] = {}
    trusted_proxies: Annotated[OneOrMany, D("networks whose X-Forwarded-For and Forwarded are believed")] = []
    dns: Annotated[DnsZone, D("records by name")] = {}
    dns_ttl: Annotated[int, D("seconds a record may be cached, where it has no TTL", ge=0, le=2**31 - 1)] = 300
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
    root: Annotated[
        str | None, D("directory for listeners without rules; default: ./public, ./html, a welcome page")
    ] = None
