"""The config file's own keys, and the union of all rules: the sum of the sections in each part's `config.py`.

One frozen struct per JSON object. The decoder (`config.decode`) fills them, `npserver schema` and the configuration
reference in `docs/` are generated from them. No behaviour lives here.
"""

# ruff: noqa: RUF012 - msgspec copies defaults for each struct

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import field

from npserver.config.section import D, OneOrMany, Section
from npserver.config.units import Seconds
from npserver.explain.config import Expectation
from npserver.forward.config import ForwardRule
from npserver.limits.config import RateLimit
from npserver.listen.config import Listen
from npserver.nameserver.blocking.config import DnsBlock
from npserver.nameserver.config import RECORDS, DnsKey, DnsRule, DnsView, DnsZone, DnsZoneSection
from npserver.nameserver.publish.config import PublicAddress
from npserver.nameserver.resolver.config import DnsForward, ResolverSection
from npserver.network_sets.config import NetworkSource
from npserver.observe.config import Logging, Metrics, Tracing
from npserver.tls.config import Tls
from npserver.upstream.config import UpstreamSection
from npserver.web.config import GlobalCompression, Limits, Timeouts
from npserver.web.handlers.fastcgi.config import FastcgiRule
from npserver.web.handlers.proxy.config import ProxyRule
from npserver.web.handlers.redirect.config import RedirectRule
from npserver.web.handlers.respond.config import RespondRule
from npserver.web.handlers.static.config import FileCache, StaticRule
from npserver.web.handlers.status.config import StatusRule
from npserver.web.maps.config import Map
from npserver.web.middleware.error_pages.config import ErrorPage

AnyRule = StaticRule | ProxyRule | FastcgiRule | ForwardRule | DnsRule | RedirectRule | RespondRule | StatusRule


class Config(Section, frozen=True, kw_only=True):
    """The config file."""

    elsewhere = {
        "http2": 'it is a key of a listener, { "uri": "http://:8080", "http2": true }, of \'tls\', and of upstreams',
        "http3": 'it is a key of a listener: { "uri": "https://:443", "http3": true }',
    }

    schema_: Annotated[str | None, D("URL or file of the JSON Schema, for editors; npserver ignores it")] = field(
        default=None, name="$schema"
    )
    include: Annotated[
        OneOrMany,
        D(
            "other files with parts of the config, whose lists are appended and whose objects are merged: names, or "
            "patterns with `*`, which may match none; relative ones start at the directory of the file that has them"
        ),
    ] = []
    listen: Annotated[list[str | Listen], D("the addresses to accept clients on, as URIs or objects", needs="tls")] = []
    tls: Annotated[
        Literal["auto", "internal"] | Tls | list[Tls] | None,
        D(
            "certificates of all https and ssl listeners; SNI decides between several; `internal`: of npserver's own "
            "local authority, `auto`: of Let's Encrypt, by ACME"
        ),
    ] = None
    backlog: Annotated[int, D("length of the kernel's accept queue, per listener and worker", ge=1, le=65535)] = 2048
    workers: Annotated[
        int | None,
        D("number of worker processes; 0 runs everything in one process; default: the CPUs available", ge=0, le=1024),
    ] = None
    user: Annotated[str | None, D("user to switch to after binding the sockets; needs a start as root")] = None
    group: Annotated[str | None, D("group to switch to after binding the sockets; default: the user's group")] = None
    control: Annotated[
        str | None,
        D(
            "Unix socket on which the server takes the commands of its user and of root, such as `npserver reload`, "
            "besides the one that they find by themselves; a relative name starts at the config file's directory"
        ),
    ] = None
    store: Annotated[
        str | None,
        D(
            "directory of what outlives a restart, such as certificates that npserver makes; default: systemd's "
            "`$STATE_DIRECTORY`, else /var/lib/npserver for root, `~/.local/state/npserver` for other users"
        ),
    ] = None
    defaults: Annotated[
        dict[str, dict[str, object]],
        D(
            "sets of keys for rules, by name: a rule with `use` has the keys of the sets that it names",
            opaque="an object with keys of rules",
        ),
    ] = {}
    dispatch: Annotated[
        list[AnyRule],
        D("the rules: what to do with requests and connections"),
    ] = []
    upstreams: Annotated[
        dict[str, UpstreamSection], D("groups of targets, by name; rules refer to them as `upstream://name`")
    ] = {}
    networks: Annotated[
        dict[str, list[str] | NetworkSource],
        D(
            "lists of networks in CIDR notation, by name, for `allow`, `deny` and other keys; `unix:` stands for the "
            "clients of Unix sockets; an object names a list in a file or at a URL, or a database of countries"
        ),
    ] = {}
    rate_limits: Annotated[
        dict[str, RateLimit],
        D("rate limits, by name, for `rate_limit` of rules: all rules that name one share what is counted"),
    ] = {}
    trusted_proxies: Annotated[
        OneOrMany,
        D(
            "networks of the proxies in front of npserver, `unix:` for those that connect to Unix sockets: only their "
            "`Forwarded` and `X-Forwarded-*` fields are used",
            needs="networks",
        ),
    ] = []
    dns: Annotated[DnsZone, D("DNS records, by owner name", opaque=RECORDS)] = {}
    dns_ttl: Annotated[
        int, D("TTL in seconds of records that have none of their own", zero="they are not cached", ge=0, le=2**31 - 1)
    ] = 300
    dns_zones: Annotated[
        list[str | DnsZoneSection],
        D("the zones served, as names of apexes or objects; default: derived from the names in `dns`"),
    ] = []
    dns_views: Annotated[
        list[DnsView], D("other records for clients of some networks; the first view that matches is used")
    ] = []
    dns_keys: Annotated[
        dict[str, DnsKey],
        D("keys that sign messages between name servers, by the name that both sides have for them (TSIG)"),
    ] = {}
    dns_alias_stale: Annotated[
        Seconds,
        D("time for which the last addresses of an ALIAS record's target are served after resolvers have failed"),
    ] = Seconds(3600)
    dns_auto_ptr: Annotated[bool, D("create PTR records from the A and AAAA records")] = False
    public_address: Annotated[
        OneOrMany | PublicAddress,
        D(
            "addresses at which clients on the internet reach this machine, for `publish`: IP addresses, or "
            "`interface` for the global ones of its interfaces; [] if there is none"
        ),
    ] = "interface"
    dns_forward: Annotated[
        DnsForward | list[str | ResolverSection] | None,
        D("recursive resolvers that answer queries for names outside the zones served"),
    ] = None
    dns_block: Annotated[
        DnsBlock | list[DnsBlock] | None,
        D(
            "names that are not resolved: block lists from files and URLs; of several entries, the first whose `from` "
            "has the client is used"
        ),
    ] = None
    expect: Annotated[
        list[Expectation],
        D(
            "tests of this config: what clients are to get; `npserver check` and a reload fail if they get something "
            "else"
        ),
    ] = []
    timeouts: Annotated[Timeouts, D("time limits for clients")] = Timeouts()
    limits: Annotated[Limits, D("limits on sizes and numbers, for clients")] = Limits()
    logging: Annotated[Logging, D("access log and server log")] = Logging()
    tracing: Annotated[
        Tracing | None, D("traces of HTTP requests, sent to a collector of OpenTelemetry; default: none")
    ] = None
    metrics: Annotated[Metrics, D("times in the metrics of handler `status`")] = Metrics()
    gzip: Annotated[
        bool | GlobalCompression,
        D("compression of static files, with `proxied` of proxied answers too; `false` switches it off"),
    ] = True
    file_cache: Annotated[FileCache, D("in-memory cache of small static files")] = FileCache()
    mime: Annotated[dict[str, str], D('additional media types, by file extension: {"wasm": "application/wasm"}')] = {}
    maps: Annotated[
        dict[str, Map], D("variables that are looked up by others, by name: `backend` is `$map.backend` in texts")
    ] = {}
    error_pages: Annotated[
        dict[str, str | ErrorPage], D('files sent as error pages, by status ("404") or class ("5xx")')
    ] = {}
    server_header: Annotated[str | bool, D("value of the Server header; `false` omits it, `true` means `npserver`")] = (
        "npserver"
    )
    root: Annotated[
        str | None,
        D("directory served by listeners without rules; default: ./public, else ./html, else a welcome page"),
    ] = None
