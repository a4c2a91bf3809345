"""Compiles the name server: one for all listeners of a config, and a front for each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

from npserver.address import QUIC, Address
from npserver.config.networks import compile_networks
from npserver.config.report import key_of
from npserver.dns.message import codes
from npserver.dns.message.name import labels, to_text
from npserver.dns.zone.tables import Tables
from npserver.errors import clip
from npserver.limits.rate import parse_rate
from npserver.nameserver.access_policy import AccessPolicy
from npserver.nameserver.aliases.compile import compile_aliases
from npserver.nameserver.config import DnsRule, DnsZoneSection
from npserver.nameserver.https import DnsOverHttps
from npserver.nameserver.name_server import NameServer
from npserver.nameserver.publish.publication import PUBLICATION
from npserver.nameserver.query_processor import QueryProcessor
from npserver.nameserver.reply_options import MAX_NSID_BYTES, ReplyOptions
from npserver.nameserver.response_rate_limit import RateLimiter
from npserver.nameserver.stream import DnsOverStream
from npserver.nameserver.stream_front import StreamSettings
from npserver.nameserver.transfers.access import TransferAccess
from npserver.nameserver.transfers.compile import ZONE_ACCESS, compile_access
from npserver.nameserver.transfers.keys import DNS_KEYS
from npserver.nameserver.udp import DnsOverUdp
from npserver.nameserver.udp_query_processor import UdpQueryProcessor
from npserver.nameserver.views import Added, compile_views
from npserver.nameserver.zones.compile import ZONES
from npserver.nameserver.zones.config_serials import compile_serials
from npserver.net.resolver import RESOLVER
from npserver.network_sets.events import LEARNING
from npserver.networks import Networks
from npserver.observe.config import query_log
from npserver.runtime.compilation import READS_LARGE_DATA, PerCompilation
from npserver.runtime.pubsub import Withdrawing
from npserver.runtime.signed_zone_states import forget_signed, published_signed
from npserver.tls.acme.caa import CERTIFIED
from npserver.upstream.compile import UPSTREAMS, find_upstream
from npserver.web.matching.config import Match

if TYPE_CHECKING:
    from npserver.config.document import Document
    from npserver.config.report import Path, Report
    from npserver.listen.listener import Listener
    from npserver.nameserver.dnssec.signer import Signer
    from npserver.nameserver.query_logging import QueryLogging
    from npserver.nameserver.quic.front import DnsOverQuic
    from npserver.runtime.compilation import Compilation
    from npserver.runtime.context import Context
    from npserver.runtime.front import DatagramFront, StreamFront
    from npserver.upstream.group import Upstream
    from npserver.web.config import Rule
    from npserver.web.exchange import Handler

MAX_SHOWN_ZONES = 20  # in the summary of a config


def compile_dns_front(
    compilation: Compilation, listener: Listener, rules: list[tuple[int, Rule]]
) -> StreamFront | DatagramFront | None:
    """Compile the front of a listener that does not speak HTTP from its rule, which has its index in `dispatch`."""
    report = compilation.report
    index, dns = rules[0]
    assert isinstance(dns, DnsRule)
    path: Path = ("dispatch", index)
    _check_conditions(report, path, listener, dns)
    server = NAME_SERVER.of(compilation)
    allow = compile_networks(report, (*path, "allow"), dns.allow)
    deny = compile_networks(report, (*path, "deny"), dns.deny)
    transfers = TransferAccess(
        compile_access(compilation, (*path, "allow_transfer"), dns.allow_transfer), ZONE_ACCESS.of(compilation)
    )
    address = listener.address
    if address.scheme != QUIC and not address.is_stream:
        limiter = _limiter(compilation, path, dns, str(address))
        by_datagrams = AccessPolicy(
            server, UdpQueryProcessor, allow=allow, deny=deny, transfers=transfers, limiter=limiter, key=key_of(path),
            is_logged=dns.log,
        )  # fmt: skip
        _set_nsid(report, path, dns, by_datagrams.options)
        return DnsOverUdp(by_datagrams)
    policy = AccessPolicy(
        server, QueryProcessor, allow=allow, deny=deny, transfers=transfers, key=key_of(path), is_logged=dns.log
    )
    _set_nsid(report, path, dns, policy.options)
    limits, timeouts = compilation.config.limits, compilation.config.timeouts
    settings = StreamSettings(
        float(dns.timeout), float(timeouts.write), limits.max_connections, timeouts.max_connections_per_ip,
        limits.max_resets, limits.max_unread,
    )  # fmt: skip
    front: DnsOverStream | DnsOverQuic
    if address.scheme == QUIC:
        from npserver.listen.quic import endpoint  # noqa: F401 - before the fork, and before the first client
        from npserver.nameserver.quic.front import DnsOverQuic  # imported only where it is used

        front = DnsOverQuic(policy, settings, limits)
    else:
        front = DnsOverStream(policy, "tls" if address.is_tls else "tcp", settings)
    learning = LEARNING.of(compilation)
    front.on_limited, server.on_question = learning.hook("limited"), learning.hook("dns")
    return front


def _set_nsid(report: Report, path: Path, dns: DnsRule, options: ReplyOptions) -> None:
    size = len(dns.nsid.encode())
    if size > MAX_NSID_BYTES:
        report.error((*path, "nsid"), f"expected at most {MAX_NSID_BYTES} bytes, got {size}")
    elif size:
        options.set_nsid(dns.nsid)


def _check_conditions(report: Report, path: Path, listener: Listener, dns: DnsRule) -> None:
    """Report conditions on HTTP requests, which a listener of another protocol has not."""
    given = {"match": dns.match != Match(), "from": dns.from_, "not": dns.not_, "path_regex": dns.path_regex}
    uri = clip(str(listener.address))
    for key, value in given.items():
        if value:
            report.error((*path, key), f"{key!r} is of HTTP requests, and {uri} carries none: write 'allow' or 'deny'")


def _limiter(compilation: Compilation, path: Path, dns: DnsRule, listener: str) -> RateLimiter | None:
    """Return the limit of answers over UDP; None on listeners that are not public."""
    report, rate, window_s = compilation.report, dns.rate_limit, 1.0
    if isinstance(rate, str):
        try:
            parsed = parse_rate(rate)
        except ValueError as error:
            report.error((*path, "rate_limit"), str(error))
            return None
        if parsed is None:
            report.error((*path, "rate_limit"), f"a public name server needs a limit above 0, got {clip(rate)}")
            return None
        rate, window_s = parsed.count, parsed.span_ns / 10**9
    if not dns.public:
        return None
    return RateLimiter(compilation.context.row, rate, dns.rate_limit_slip, window_s, listener)


def compile_doh(compilation: Compilation, path: Path, rule: DnsRule) -> Handler:
    """Compile the handler of a `dns` rule on a listener that speaks HTTP; guards obey its `allow` and `deny`."""
    if rule.allow_transfer:
        compilation.report.warn(
            (*path, "allow_transfer"), "no effect over HTTPS: zones are transferred over tcp, ssl and quic"
        )
    server = NAME_SERVER.of(compilation)
    server.on_question = LEARNING.of(compilation).hook("dns")
    policy = AccessPolicy(server, QueryProcessor, is_logged=rule.log)
    _set_nsid(compilation.report, path, rule, policy.options)
    return DnsOverHttps(policy)


def _compile(compilation: Compilation) -> NameServer:
    report, config, context = compilation.report, compilation.config, compilation.context
    upstreams = UPSTREAMS.of(compilation)
    publication = PUBLICATION.of(compilation)
    published: Collection[str] = ()
    if publication is None:
        tables = compilation.document.compiled.get("dns")
        if tables is None:
            tables = compilation.document.compiled["dns"] = _tables(compilation, ())
    else:
        from npserver.nameserver.publish.compile import build_published

        state, built = build_published(compilation, publication, lambda added: _tables(compilation, added))
        tables, published = built.tables, built.digests
    compile_serials(compilation, tables, published)
    if certified := CERTIFIED.of(compilation):
        from npserver.nameserver.caa import check_caa

        check_caa(report, certified, tables[-1])
    views: list[tuple[Networks | None, Tables]] = []
    for index, view in enumerate(config.dns_views):
        at: Path = ("dns_views", index, "from")
        networks = compile_networks(report, at, view.from_)
        if networks is None:
            report.error(at, "a view needs the networks it is for")
        views.append((networks or Networks([]), tables[index]))
    views.append((None, tables[-1]))
    forwarding = None
    if config.dns_forward is not None:
        from npserver.nameserver.resolver.compile import compile_forwarding

        forwarding = compile_forwarding(compilation, frozenset(tables[-1].zones))
    if not config.dns and not config.dns_views and not config.dns_zones and forwarding is None:
        report.warn(
            (),
            'handler "dns" has nothing to answer: give it records in "dns", the name of a zone in "dns_zones", or '
            'resolvers in "dns_forward"',
        )
    aliases = compile_aliases(compilation, tables, forwarding)
    blocking = None
    if config.dns_block is not None:
        from npserver.nameserver.blocking.checks import check_own_names
        from npserver.nameserver.blocking.compile import BLOCKING

        blocking = BLOCKING.of(compilation)
        check_own_names(report, blocking, tables, with_lists=READS_LARGE_DATA.of(context))
    server = NameServer(
        context,
        views,
        forwarding.client if forwarding is not None else None,
        forwarding.clients if forwarding is not None else None,
        forwarded_local=forwarding.local if forwarding is not None else frozenset(),
        discovery=forwarding.discovery if forwarding is not None else None,
        find_addresses=lambda name, kind: _addresses(context, upstreams[name], kind) if name in upstreams else (),
        query_logging=_logging(compilation),
        keys=DNS_KEYS.of(compilation),
        blocking=blocking,
        signer=_signer(compilation, tables),
        aliases=aliases,
    )
    if (changing := ZONES.of(compilation).changing) and context.worker >= 0:
        from npserver.nameserver.zones.replica import ZoneReplicas

        server.replicas = ZoneReplicas(context, changing, server.change_zone)
        if updated := ZONES.of(compilation).updated:
            from npserver.nameserver.updates.updater import Updater

            server.peers.updated, server.updater = updated, Updater(context)
        server.peers.history = server.replicas.history
    if (primaries := ZONES.of(compilation).primaries) and context.worker >= 0:
        from npserver.nameserver.transfers.hearing import NotifyHearing

        server.peers.notified = NotifyHearing(context, primaries).heard
    if publication is not None and context.worker >= 0:  # the controller has no clients
        from npserver.nameserver.publish.following import Following

        server.following = Following(context, server, publication, state, built)
    return server


def _logging(compilation: Compilation) -> QueryLogging | None:
    """Return what logs queries; None if no log has them."""
    logging, access_log = compilation.config.logging, compilation.context.access_log
    has_query_log = query_log(logging).to != "off"
    if not logging.dns_queries and not has_query_log:
        return None
    from npserver.nameserver.query_logging import QueryLogging  # few configs log queries

    return QueryLogging(access_log if logging.dns_queries else None, access_log.query_log if has_query_log else None)


def _signer(compilation: Compilation, tables: Sequence[Tables]) -> Signer | None:
    """Return what signs zones, if the config has any to sign."""
    if not any(isinstance(one, DnsZoneSection) and one.dnssec for one in compilation.config.dns_zones):
        pubsub = compilation.context.pubsub
        if published_signed(pubsub):  # by a former config
            compilation.services.append(Withdrawing(pubsub, forget_signed))
        return None
    from npserver.nameserver.dnssec.compile import compile_signer

    return compile_signer(compilation, tables, ZONES.of(compilation).apexes)


#: The name server of a config: one for all of its listeners.
NAME_SERVER = PerCompilation(_compile)


def _tables(compilation: Compilation, added: Added) -> list[Tables]:
    """Return the tables of the views, then the global ones, with these records added; what is wrong is reported."""
    report, config = compilation.report, compilation.config
    return compile_views(
        config,
        ZONES.of(compilation),
        added,
        has_upstream=lambda path, name: find_upstream(compilation, path, Address("upstream", name)) is not None,
        report=report.error,
        warn=report.warn,
    )


def describe_zones(document: Document) -> str:
    """Return ` of zones` and their names, in a compiled config: those of the config first, then the derived ones."""
    tables: list[Tables] = document.compiled.get("dns", [])
    derived = dict.fromkeys([key for one in tables for key in one.zones if key in one.derived])
    named = dict.fromkeys([key for one in tables for key in one.zones if key not in derived])
    parts = []
    if named:
        parts.append(f"of zones {_names(list(named), document.compiled.get('dnssec', {}))}")
    if derived:
        parts.append(f"of zones derived from names: {_names(list(derived))}")
    return " " + "; ".join(parts) if parts else ""


def _names(keys: list[bytes], notes: Mapping[bytes, str] = {}) -> str:
    """Return the names of zones, with what there is to say of them in brackets."""
    shown = ", ".join(
        [
            (to_text(key).removesuffix(".") or ".") + (f" ({notes[key]})" if key in notes else "")
            for key in sorted(keys, key=labels)[:MAX_SHOWN_ZONES]
        ]
    )
    return f"{shown} and {len(keys) - MAX_SHOWN_ZONES} more" if len(keys) > MAX_SHOWN_ZONES else shown


# ── addresses of upstreams ──


def _addresses(context: Context, upstream: Upstream, kind: int) -> list[bytes]:
    """Return the addresses of the healthy targets; of all targets, if none is healthy."""
    of_kind = IPv4Address if kind == codes.A else IPv6Address
    found = _packed(upstream.healthy_addresses(), of_kind)
    if not found:
        resolver = RESOLVER.of(context)
        targets = [one for one in upstream.targets if not one.is_draining] or upstream.targets
        hosts = [target.address.host for target in targets if not target.address.is_unix]
        found = _packed([address for host in hosts for address in resolver.known(host) or ()], of_kind)
    return found


def _packed(addresses: Sequence[str], of_kind: type[IPv4Address | IPv6Address]) -> list[bytes]:
    found = [ip_address(text.partition("%")[0]) for text in addresses]
    return [address.packed for address in dict.fromkeys(found) if isinstance(address, of_kind)]
