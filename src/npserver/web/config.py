"""The keys that all HTTP rules share, `timeouts` and `limits`."""

# ruff: noqa: RUF012 - msgspec copies defaults for each struct

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import field

from npserver.config.section import HIDDEN, D, HeaderMap, OneOrMany, Section
from npserver.config.units import Seconds, Size
from npserver.web.middleware.basic_auth.config import BasicAuth


class Compression(Section, frozen=True, kw_only=True):
    """Compression of static answers."""

    enabled: Annotated[bool, D("compress at all")] = True
    codings: Annotated[list[Literal["zstd", "br", "gzip"]], D("codings offered, preferred first")] = field(
        default_factory=lambda: ["zstd", "br", "gzip"]
    )
    min_size: Annotated[Size, D("smaller files are sent as they are")] = Size(256)
    max_size: Annotated[Size, D("larger files are sent as they are")] = Size(5 << 20)
    types: Annotated[list[str], D("media types compressed beside the built-in ones, `text/*` allowed")] = []


class Rule(Section, frozen=True, kw_only=True):
    """What all rules have in common."""

    listener: Annotated[
        OneOrMany | None, D("names or URIs of the listeners; default: all that speak HTTP", needs="listen")
    ] = None
    allow: Annotated[
        OneOrMany, D("networks let in: names from `networks`, CIDR; others are refused", needs="networks")
    ] = []
    deny: Annotated[OneOrMany, D("networks refused", needs="networks")] = []


class HttpRule(Rule, frozen=True, kw_only=True):
    """What all rules about HTTP requests have in common."""

    path: Annotated[str, D("`/api/**` for a prefix, else exactly this path; default: everything")] = "/**"
    host: Annotated[OneOrMany | None, D("host names, `*.` wildcards allowed; default: any")] = None
    response_headers: Annotated[HeaderMap, D("changes to the response's header")] = {}
    basic_auth: Annotated[BasicAuth | None, D("ask for a name and a password")] = None
    max_body_size: Annotated[Size | None, D("default: `limits.max_body_size`")] = None
    error_pages: Annotated[dict[str, str], D('files by status: "404", "5xx"; default: the global ones')] = {}
    added: Annotated[dict[str, Any], HIDDEN] = {}  # keys that middleware of installed packages adds, with their values


class AnswerRule(HttpRule, frozen=True, kw_only=True):
    """What rules that answer by themselves have in common."""

    headers: Annotated[HeaderMap, D("another name for `response_headers`")] = {}


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
