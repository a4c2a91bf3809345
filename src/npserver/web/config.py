"""The keys that all HTTP rules share, `timeouts` and `limits`."""

# ruff: noqa: RUF012 - msgspec copies defaults for each struct

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from msgspec import field

from npserver.config.section import HIDDEN, NO_LIMIT, D, HeaderMap, OneOrMany, Section
from npserver.config.units import Seconds, Size
from npserver.limits.config import RateLimit
from npserver.web.matching.config import Match, NotMatch
from npserver.web.middleware.bandwidth.config import Bandwidth
from npserver.web.middleware.basic_auth.config import BasicAuth
from npserver.web.middleware.cors.config import Cors
from npserver.web.middleware.error_pages.config import ErrorPage
from npserver.web.middleware.forward_auth.config import ForwardAuth
from npserver.web.middleware.jwt.config import Jwt
from npserver.web.middleware.maintenance.config import Maintenance
from npserver.web.middleware.max_requests.config import MaxRequests
from npserver.web.middleware.security_headers.config import SecurityHeaders


class ProxiedCompression(Section, frozen=True, kw_only=True):
    """Compression of the answers that `proxy` rules pass on."""

    enabled: Annotated[bool, D("compress files and answers")] = True
    codings: Annotated[list[Literal["zstd", "br", "gzip"]], D("content codings to use, most preferred first")] = field(
        default_factory=lambda: ["zstd", "br", "gzip"]
    )
    min_size: Annotated[Size, D("smallest file or answer that is compressed", zero="all")] = Size(256)
    types: Annotated[
        list[str], D("further media types to compress besides the built-in ones; `text/*` stands for all of a kind")
    ] = []


class Compression(ProxiedCompression, frozen=True, kw_only=True):
    """Compression of static files."""

    max_size: Annotated[Size, D("largest file that is compressed", zero="none")] = Size(5 << 20)


class GlobalCompression(Compression, frozen=True, kw_only=True):
    """Compression of static files, and of the answers of `proxy` rules if it says so."""

    proxied: Annotated[bool, D("compress the answers of `proxy` rules that have no `gzip` of their own, too")] = False


class Rule(Section, frozen=True, kw_only=True):
    """The keys that all rules have."""

    uses_dns_ports: ClassVar[bool] = False  # the default ports of its listeners are those of a name server

    use: Annotated[
        OneOrMany,
        D(
            "names of sets in `defaults`, whose keys the rule has: a later name wins over an earlier one, the rule's "
            "own keys over all; values are replaced whole"
        ),
    ] = []
    listener: Annotated[
        OneOrMany | None,
        D("names or URIs of the listeners this rule applies to; default: all that speak HTTP", needs="listen"),
    ] = None
    allow: Annotated[
        OneOrMany,
        D("client networks that are allowed; others are refused; default: all", needs="networks", empty="all clients"),
    ] = []
    deny: Annotated[OneOrMany, D("client networks that are refused, even if `allow` has them", needs="networks")] = []
    log: Annotated[
        bool,
        D("write the requests, connections and sessions of this rule to the access logs, and queries to the query log"),
    ] = True


class HttpRule(Rule, frozen=True, kw_only=True):
    """The keys that all rules for HTTP requests have."""

    limits_requests: ClassVar[bool] = True  # `rate_limit` is about HTTP requests

    name: Annotated[str | None, D("name of the rule, for log lines and the table of rules")] = None
    trace: Annotated[
        bool,
        D("give requests of this rule a trace, with `tracing`; without one, `traceparent` is passed on as it is"),
    ] = True
    path: Annotated[
        str,
        D(
            "path this rule applies to: `/api/**` for all paths below `/api`, otherwise exactly this path; a `*` "
            "within stands for one segment"
        ),
    ] = "/**"
    path_regex: Annotated[
        str | None,
        D("regular expression for the whole path, besides `path`; paths of more than 1024 characters match none"),
    ] = None
    host: Annotated[OneOrMany | None, D("host names this rule applies to, with `*.` wildcards; default: all")] = None
    match: Annotated[
        Match, D("conditions on the request; of the rules for a host and path the first whose conditions hold is used")
    ] = Match()
    from_: Annotated[
        OneOrMany, D("client networks this rule applies to; default: all", needs="networks", empty="all clients")
    ] = field(default_factory=list, name="from")
    not_: Annotated[NotMatch | list[NotMatch], D("conditions that must not hold; of a list, none may")] = field(
        default_factory=list, name="not"
    )
    publish: Annotated[
        bool,
        D(
            "make the records of `host` in a zone of ours: A and AAAA, HTTPS, CAA, and PTR with `dns_auto_ptr`; "
            "those that `dns` has win"
        ),
    ] = False
    response_headers: Annotated[
        HeaderMap, D("changes to the response header; a value of null removes a field, a name like `+Vary` adds one")
    ] = {}
    rate_limit: Annotated[
        str | RateLimit | None,
        D(
            "how often each client may send a request: a rate such as `10/s`, a name from `rate_limits`, or an object; "
            "further requests are answered with 429",
            needs="rate_limits",
        ),
    ] = None
    basic_auth: Annotated[BasicAuth | None, D("ask for a user name and password (HTTP Basic authentication)")] = None
    maintenance: Annotated[
        bool | Maintenance, D("answer with 503 while the site is being worked on: always, or while a file exists")
    ] = False
    forward_auth: Annotated[
        ForwardAuth | None, D("ask another server, such as Authelia or oauth2-proxy, who may come in")
    ] = None
    max_requests: Annotated[
        int | MaxRequests | None,
        D("requests in progress at once over all workers; further ones are answered with 503; 0: no limit", ge=0),
    ] = None
    jwt: Annotated[Jwt | None, D("ask for a signed token (JWT)")] = None
    bandwidth: Annotated[
        Size | Bandwidth | None,
        D("bytes per second of each answer, such as `1m`, or an object with limits per client", zero="unlimited"),
    ] = None
    max_body_size: Annotated[
        Size | None,
        D("largest request body; larger ones are answered with 413; default: `limits.max_body_size`", zero=NO_LIMIT),
    ] = None
    security_headers: Annotated[
        bool | Literal["strict"] | SecurityHeaders,
        D("response fields by which browsers protect a site's users; `true`: those that suit any site, `strict`: more"),
    ] = False
    cors: Annotated[
        Cors | None, D("which pages of other origins may use the answers; preflights are answered here")
    ] = None
    error_pages: Annotated[
        dict[str, str | ErrorPage],
        D('files sent as error pages, by status ("404") or class ("5xx"); besides the global ones'),
    ] = {}
    added: Annotated[dict[str, Any], HIDDEN] = {}  # keys that middleware of installed packages adds, with their values


class AnswerRule(HttpRule, frozen=True, kw_only=True):
    """The keys that static, redirect and respond rules have."""

    headers: Annotated[HeaderMap, D("same as `response_headers`")] = {}


class Timeouts(Section, frozen=True, kw_only=True):
    """Time limits for clients."""

    header: Annotated[Seconds, D("from the first to the last byte of a request head", zero=NO_LIMIT)] = Seconds(10)
    body: Annotated[Seconds, D("between two reads of a request body", zero=NO_LIMIT)] = Seconds(30)
    idle: Annotated[Seconds, D("how long an idle connection is kept open for the next request", zero=NO_LIMIT)] = (
        Seconds(60)
    )
    write: Annotated[Seconds, D("how long a client may read nothing of a response being sent", zero=NO_LIMIT)] = (
        Seconds(60)
    )
    tls_handshake: Annotated[
        Seconds, D("from accepting a connection to the end of the TLS handshake", zero=NO_LIMIT)
    ] = Seconds(10)
    proxy_header: Annotated[
        Seconds, D("from accepting a connection to a complete PROXY protocol header", zero=NO_LIMIT)
    ] = Seconds(5)
    shutdown: Annotated[
        Seconds,
        D(
            "how long active requests may take to finish at a shutdown, or after a reload removed their listener",
            zero="they are cut off at once",
        ),
    ] = Seconds(30)
    max_connections_per_ip: Annotated[
        int, D("maximum number of connections from one client address, over all workers; 0: no limit", ge=0)
    ] = 500


class Limits(Section, frozen=True, kw_only=True):
    """Limits for clients."""

    max_body_size: Annotated[Size, D("largest request body; larger ones are answered with 413", zero=NO_LIMIT)] = Size(
        64 << 20
    )
    max_url_size: Annotated[Size, D("longest request target (path and query); longer ones are answered with 414")] = (
        Size(8192)
    )
    max_headers: Annotated[int, D("maximum number of header fields; more are answered with 431", ge=1)] = 128
    max_header_size: Annotated[Size, D("largest request head; larger ones are answered with 431")] = Size(64 << 10)
    max_connections: Annotated[
        int, D("maximum number of client connections over all workers; more are answered with 503", ge=1)
    ] = 10_000
    max_requests_per_connection: Annotated[int, D("number of requests after which a connection is closed", ge=1)] = (
        10_000
    )
    max_handshakes: Annotated[
        int,
        D(
            "QUIC: handshakes in progress in a worker from which on new clients must first show that they receive at "
            "their address; from ten times that on, they get no answer",
            ge=1,
            le=2**20,
        ),
    ] = 100
    max_streams: Annotated[
        int,
        D("HTTP/2, HTTP/3, DNS over QUIC: maximum number of simultaneous requests on a connection", ge=1, le=2**31 - 1),
    ] = 100
    max_resets: Annotated[
        int,
        D(
            "HTTP/2, HTTP/3, DNS over QUIC: stream resets allowed per minute before the connection is closed",
            ge=1,
            le=2**31 - 1,
        ),
    ] = 500
    max_control_frames: Annotated[
        int,
        D(
            "HTTP/2, HTTP/3: SETTINGS, PING, empty DATA and unknown frames allowed per minute before it is closed",
            ge=10,
            le=2**31 - 1,
        ),
    ] = 6000
    max_window_updates: Annotated[
        int,
        D(
            "HTTP/2: WINDOW_UPDATE frames allowed per minute before it is closed, besides four for each request, two "
            "for each piece of an answer and one for each 512 bytes sent",
            ge=10,
            le=2**31 - 1,
        ),
    ] = 6000
    max_unread: Annotated[
        Size,
        D(
            "HTTP/2, HTTP/3, DNS over QUIC: bytes of answers that clients leave unread, over all connections of a "
            "worker; beyond it the connection that holds the most is closed; QUIC adds 24 bytes for each that came out "
            "of order",
            zero=NO_LIMIT,
        ),
    ] = Size(256 << 20)
    http2_window: Annotated[
        Size,
        D("HTTP/2, HTTP/3: receive window of a request body; the window of the whole connection is four times that"),
    ] = Size(256 << 10)
    rate_limit_keys: Annotated[
        int,
        D(
            "keys of rate limits, such as clients, that can be told apart at once, over all limits and workers, "
            "rounded up to a power of two; 16 bytes each; a change takes a restart",
            ge=1,
            le=1 << 28,
        ),
    ] = 1 << 20
    max_ranges: Annotated[
        int, D("maximum number of byte ranges in one request; for more, the whole file is sent; 0 ignores ranges", ge=0)
    ] = 16
