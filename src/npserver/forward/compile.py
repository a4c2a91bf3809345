"""Compiles forward rules: the front of a listener that relays connections or datagrams."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

from npserver.address import HTTP_ONLY, parse_target
from npserver.config.networks import compile_networks
from npserver.errors import clip
from npserver.forward.config import ForwardRule
from npserver.forward.datagrams import DatagramForward, DatagramRoute
from npserver.forward.framing import MAX_LENGTHS
from npserver.forward.messages import MessageForward
from npserver.forward.session import Forward, ForwardSettings
from npserver.forward.stream_router import StreamRoute, StreamRouter
from npserver.forward.streams import StreamForward
from npserver.host_hints import hint_at_host
from npserver.idn import to_ascii
from npserver.limits.compile import CompiledLimit, compile_limit
from npserver.network_sets.events import LEARNING
from npserver.port_range import PortRange, port_range
from npserver.upstream.compile import find_upstream, single_target, with_tls
from npserver.upstream.config import UpstreamTls
from npserver.web.config import Rule

if TYPE_CHECKING:
    from npserver.config.report import Path, Report
    from npserver.listen.listener import Listener
    from npserver.runtime.compilation import Compilation
    from npserver.runtime.front import DatagramFront, StreamFront
    from npserver.upstream.group import Upstream

STREAM_TIMEOUT_S = 300.0
DATAGRAM_TIMEOUT_S = 60.0
SILENT_S = 1.0  # default of `sni_timeout`
MAX_UDP_PAYLOAD = 65_507  # what IPv4 leaves of 65,535 bytes


def compile_forward_front(
    compilation: Compilation, listener: Listener, rules: list[tuple[int, Rule]]
) -> StreamFront | DatagramFront | None:
    """Compile the forwards of a listener; None if none of them can be used, the reasons are in the report."""
    report, context = compilation.report, compilation.context
    is_stream = listener.address.is_stream
    streams: list[StreamRoute] = []
    datagrams: list[DatagramRoute] = []
    for index, rule in rules:
        if not isinstance(rule, ForwardRule):
            continue
        path = ("dispatch", index)
        networks = compile_networks(report, (*path, "from"), rule.from_)
        names = _names(report, path, listener, rule)
        upstream = _upstream(compilation, path, rule, listener)
        if upstream is None:
            continue
        to_stream = upstream.targets[0].address.is_stream
        _check_form(report, path, rule, is_stream, to_stream)
        limit = _limit(compilation, path, rule)
        settings = _settings(report, path, rule, limit, is_relay=is_stream and to_stream)
        limiter = None
        if limit is not None:
            limiter = limit.limiter(compilation, limit.client_key, is_of_datagrams=not is_stream)
        forward = Forward(context, settings, upstream, _gauge(listener, rule), limiter)
        if is_stream:  # whoever sends a datagram may have forged its address
            forward.on_limited = LEARNING.of(compilation).hook("limited")
            front = (StreamForward if to_stream else MessageForward)(forward)
            silent_s = SILENT_S if rule.sni_timeout is None else float(rule.sni_timeout)
            streams.append(StreamRoute(front, names, networks, silent_s))
        else:
            datagrams.append(DatagramRoute(forward, networks))
    _check_sni_timeouts(report, rules, has_names=any(route.names for route in streams))
    if datagrams:
        return DatagramForward(context, listener.key, tuple(datagrams), _most_sessions(report))
    if len(streams) == 1 and not streams[0].names and streams[0].networks is None:
        return streams[0].front
    return StreamRouter(context, streams, float(report.document.config.timeouts.tls_handshake)) if streams else None


def _upstream(compilation: Compilation, path: Path, rule: ForwardRule, listener: Listener) -> Upstream | None:
    report = compilation.report
    place = (*path, "forward_to")
    try:
        ports = port_range(rule.forward_to)
        address = parse_target(rule.forward_to if ports is None else _one_of(ports, listener))
    except ValueError as error:
        report.error(place, str(error))
        return None
    if address.scheme in HTTP_ONLY:
        instead = "ssl" if address.is_tls else "tcp"
        report.error(place, f"a forward relays bytes: write {instead}:// instead of {address.scheme}://")
        return None
    if address.scheme != "upstream":
        if address.path and not address.is_unix:
            report.error(place, f"the target of a forward has no path, got {clip(address.path)}")
        return single_target(compilation, place, address, tls=rule.tls, counted_as="" if ports is None else str(ports))
    upstream = find_upstream(compilation, place, address)
    if upstream is None:
        return None
    if len({target.address.is_stream for target in upstream.targets}) > 1:
        report.error(place, f"the targets of {address} must all be streams or all be datagrams")
        return None
    if rule.tls != UpstreamTls():
        upstream = with_tls(compilation, (*path, "tls"), upstream, rule.tls)
    upstream = upstream.with_keys(balance=rule.balance)
    key = "forward_to" if rule.balance is None else "balance"
    if upstream.section.balance == "hash":
        report.error((*path, key), "a forward has no requests to hash: set 'balance' \"ip-hash\" in this rule")
    if upstream.section.balance == "least-time":
        report.error((*path, key), "a forward has no responses to time: set 'balance' \"least-conn\" in this rule")
    return upstream


def _one_of(ports: PortRange, listener: Listener) -> str:
    """Return the target of a range for a listener: the one at the same place. Raises: ValueError."""
    own = listener.ports
    if own is None or own.count != ports.count:
        raise ValueError(
            f"{ports.count} ports in {clip(str(ports))}, and {1 if own is None else own.count} in listener "
            f"{clip(listener.name)}: each port is forwarded to the one at the same place of the other range"
        )
    return ports.uri(listener.address.port - own.first)


def _limit(compilation: Compilation, path: Path, rule: ForwardRule) -> CompiledLimit | None:
    """Compile `rate_limit`, and report what connections do not have: methods, a status, other keys than an address."""
    identity = ("forward", rule.listener, rule.sni, rule.from_, rule.forward_to)
    limit = compile_limit(compilation, (*path, "rate_limit"), rule.rate_limit, identity)
    if limit is None:
        return None
    report, section, place = compilation.report, limit.section, limit.place
    if section.key != "$client_ip":
        report.error((*place, "key"), f"a forward counts by $client_ip only, got {clip(section.key)}")
    if place[0] != "rate_limits":  # an entry may be meant for HTTP rules too
        for key, is_set in (("methods", section.methods), ("status", section.status != 429)):
            if is_set:
                report.warn((*place, key), "no effect: a forward closes the connection")
    return limit


def _settings(
    report: Report, path: Path, rule: ForwardRule, limit: CompiledLimit | None, *, is_relay: bool
) -> ForwardSettings:
    config = report.document.config
    default_s = STREAM_TIMEOUT_S if is_relay else DATAGRAM_TIMEOUT_S
    name = f"dispatch[{path[1]}]"
    return ForwardSettings(
        rule,
        name=name,
        timeout_s=float(rule.timeout) if rule.timeout else default_s,
        max_connections=rule.max_connections or config.limits.max_connections,
        max_connections_key=f"{name}.max_connections" if rule.max_connections else "limits.max_connections",
        max_message_size=min(rule.max_message_size, MAX_LENGTHS[rule.framing]),
        allow=compile_networks(report, (*path, "allow"), rule.allow),
        deny=compile_networks(report, (*path, "deny"), rule.deny),
        rate_limit_key=limit.decided_by if limit is not None else "",
        is_rate_dry_run=limit is not None and limit.section.dry_run,
    )


def _check_form(report: Report, path: Path, rule: ForwardRule, from_stream: bool, to_stream: bool) -> None:
    """Report keys that mean nothing, or cannot be had, between these two sides."""
    if from_stream and to_stream:
        if rule.mode == "datagram":
            report.warn((*path, "mode"), "no effect between two streams: bytes are relayed as they come")
        if rule.framing != "raw":
            report.warn((*path, "framing"), "no effect between two streams: bytes are relayed as they come")
    elif not from_stream and not to_stream:
        if rule.mode == "stream":
            report.warn((*path, "mode"), "no effect between datagram sockets: datagrams keep their boundaries")
        if rule.framing != "raw":
            report.warn((*path, "framing"), "no effect between datagram sockets: datagrams keep their boundaries")
    elif rule.framing != "raw" and rule.mode == "stream":
        report.error((*path, "framing"), f'"framing": "{rule.framing}" needs "mode": "datagram"')
    if not (from_stream and to_stream) and rule.max_message_size > MAX_UDP_PAYLOAD:
        report.error((*path, "max_message_size"), f"no datagram is longer than {MAX_UDP_PAYLOAD} bytes")
    if rule.send_proxy == "v1" and not to_stream:
        report.error((*path, "send_proxy"), 'datagrams carry PROXY headers of version 2 only: "send_proxy": "v2"')


def _names(report: Report, path: Path, listener: Listener, rule: ForwardRule) -> tuple[str, ...]:
    names = [rule.sni] if isinstance(rule.sni, str) else rule.sni or []
    if names and (not listener.address.is_stream or listener.address.is_tls):
        uri = clip(str(listener.address))
        report.error((*path, "sni"), f"{uri} shows no server name: listen on tcp or unix, TLS passes through")
    found = []
    for name in names:
        if not name or "*" in name.removeprefix("*."):
            wanted = "a server name such as db.example.com or *.example.com"
            report.error((*path, "sni"), f"expected {wanted}, got {clip(name)}")
        elif hint := hint_at_host("sni", name, ignores_port=False):
            report.warn((*path, "sni"), hint)
        try:
            found.append(to_ascii(name).lower().rstrip("."))
        except ValueError as error:
            report.error((*path, "sni"), f"{clip(name)} is {error}")
    return tuple(found)


def _check_sni_timeouts(report: Report, rules: list[tuple[int, Rule]], *, has_names: bool) -> None:
    """Report `sni_timeout` where no client is without a rule, or where the rule is not for silent clients."""
    for index, rule in rules:
        if isinstance(rule, ForwardRule) and rule.sni_timeout is not None and (rule.sni or not has_names):
            why = "this rule has `sni`, and silent clients get the rule without" if rule.sni else "no rule has `sni`"
            report.warn(("dispatch", index, "sni_timeout"), f"no effect: {why}".replace("`", '"'))


def _gauge(listener: Listener, rule: ForwardRule) -> str:
    names = [rule.sni] if isinstance(rule.sni, str) else rule.sni or []
    networks = [rule.from_] if isinstance(rule.from_, str) else rule.from_
    return " ".join([listener.group, *names, *networks, rule.forward_to])


def _most_sessions(report: Report) -> int:
    """Sessions of one process that leave it descriptors for all else."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = report.document.config.limits.max_connections
    rules = [rule.max_connections for rule in report.document.config.dispatch if isinstance(rule, ForwardRule)]
    wanted = max([most, *rules])
    return wanted if soft == resource.RLIM_INFINITY else max(16, min(wanted, soft * 3 // 4))
