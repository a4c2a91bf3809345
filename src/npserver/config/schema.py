"""The config file's own keys, and the union of all rules: the sum of the sections in each part's `config.py`.

One frozen struct per JSON object. The decoder (`config.decode`) fills them, `npserver schema` and the configuration
reference in `docs/` are generated from them. No behaviour lives here.
"""

# ruff: noqa: RUF012 - msgspec copies defaults for each struct

from __future__ import annotations

from typing import Annotated

from msgspec import field

from npserver.config.section import D, OneOrMany, Section
from npserver.forward.config import ForwardRule
from npserver.listen.config import Listen
from npserver.nameserver.config import RECORDS, DnsForward, DnsRule, DnsView, DnsZone
from npserver.observe.config import Logging
from npserver.tls.config import Tls
from npserver.upstream.config import Upstream
from npserver.web.config import Compression, Limits, Timeouts
from npserver.web.handlers.proxy.config import ProxyRule
from npserver.web.handlers.redirect.config import RedirectRule
from npserver.web.handlers.respond.config import RespondRule
from npserver.web.handlers.static.config import FileCache, StaticRule
from npserver.web.handlers.status.config import StatusRule

AnyRule = StaticRule | ProxyRule | ForwardRule | DnsRule | RedirectRule | RespondRule | StatusRule


class Config(Section, frozen=True, kw_only=True):
    """The config file."""

    schema_: Annotated[str | None, D("where editors find the JSON Schema; not used otherwise")] = field(
        default=None, name="$schema"
    )
    listen: Annotated[list[str | Listen], D("the sockets, as URIs or objects", needs="tls")] = []
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
    trusted_proxies: Annotated[
        OneOrMany, D("networks whose X-Forwarded-For and Forwarded are believed", needs="networks")
    ] = []
    dns: Annotated[DnsZone, D("records by name", opaque=RECORDS)] = {}
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
