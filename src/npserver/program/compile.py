"""Compile a whole config into the objects that serve it.

`compile_config` compiles part by part; each part writes its errors to one `config.report.Report`, so that all are shown
at once. Compiling does not use the network, start tasks or open listening sockets: `npserver check` compiles too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.config.networks import check_networks
from npserver.errors import clip
from npserver.listen.certificates import add_certificates
from npserver.listen.compile import compile_listeners
from npserver.network_sets.states import forgetting
from npserver.program.assignment import ASSIGNED, assign_rules, speaks_http
from npserver.program.counters import check_observing, name_server_counters
from npserver.program.hosts import hosts_of
from npserver.program.http3 import add_http3, name_counters
from npserver.program.kinds import kind_of
from npserver.program.logs import compile_logging
from npserver.program.runtime import Runtime
from npserver.program.summary import label_listener, summarise
from npserver.program.unserved import check_unserved
from npserver.runtime.compilation import SUMMARY, Compilation
from npserver.runtime.public_addresses import TOPIC, forget_addresses
from npserver.runtime.pubsub import Withdrawing
from npserver.sources.states import BLOCK_LISTS
from npserver.upstream.registry import REGISTERED, TARGETS, named_targets
from npserver.web.handlers.kinds import load

if TYPE_CHECKING:
    from collections.abc import Iterable

    from npserver.config.document import Document
    from npserver.listen.listener import Listener
    from npserver.program.assignment import Assignment
    from npserver.runtime.context import Context
    from npserver.runtime.front import DatagramFront, StreamFront
    from npserver.web.config import Rule


def compile_config(document: Document, context: Context, compilation: Compilation | None = None) -> Runtime:
    """Compile a whole config for the process that `context` is of. Raises: ConfigError with everything wrong.

    `compilation`: a new one, for a caller that reads afterwards what the compilers have shared; None: it is dropped.
    """
    from npserver.program.services import compile_services

    compilation = compilation or Compilation(document, context)
    report = compilation.report
    before = set(REGISTERED.of(context))  # of a config in use
    fronts: dict[str, StreamFront | DatagramFront] = {}
    try:
        check_networks(report)
        if any(not isinstance(entry, list) for entry in compilation.config.networks.values()):
            from npserver.network_sets.compile import compile_network_sets

            compile_network_sets(compilation)
        else:
            compilation.services += forgetting(context.pubsub)
        if report.document.config.rate_limits:
            from npserver.limits.compile import check_rate_limits

            check_rate_limits(compilation)
        logs = compile_logging(compilation)
        if report.document.config.control is not None:
            from npserver.config.control_place import check_control

            check_control(report)
        if report.document.config.user is not None or report.document.config.group is not None:
            from npserver.config.identity import check_identity

            check_identity(report)
        listeners = compile_listeners(compilation)
        rules = assign_rules(report, listeners)
        ASSIGNED.put(compilation, rules)
        listeners = add_certificates(
            compilation, listeners, lambda listener: hosts_of(rule for _, rule in rules[listener.key])
        )
        if any(listener.server_tls is not None for listener in listeners.values()):
            from npserver.tls.states import PUBLISHER

            PUBLISHER.of(compilation)  # any process may be asked for the states of certificates
        _prepare_published(compilation, listeners.values(), rules)
        _compile_upstreams(compilation)
        if compilation.config.dns_block is not None or context.pubsub.latest.get(BLOCK_LISTS):
            from npserver.nameserver.blocking.compile import BLOCKING

            BLOCKING.of(compilation)
        for listener in listeners.values():
            if front := _compile_front(compilation, listener, rules[listener.key]):
                fronts[listener.key] = front
        quic = add_http3(listeners.values(), fronts)
        name_counters((*listeners.values(), *quic), context.row)
        name_server_counters(listeners.values(), context.row)
        if compilation.config.tracing is not None:
            from npserver.web.traces import TRACER

            TRACER.of(compilation)
        check_unserved(compilation, rules)
        check_observing(report)
        for name in report.unused_learnt:
            report.warn(("networks", name), f"nothing is refused: name {clip(name)} in 'deny', 'from' or another key")
        report.raise_errors()
        if report.network_sets:
            from npserver.network_sets.learning import check_events

            check_events(compilation)
    except BaseException:
        for front in fronts.values():
            front.close()
        raise
    targets = named_targets(set(REGISTERED.of(context)) - before)
    TARGETS.of(compilation).extend(targets)
    summary = SUMMARY.of(compilation)
    summary += summarise(listeners.values(), rules, document)
    summary += [(label_listener(one), "HTTP/3, with the same rules") for one in quic]
    return Runtime(
        document=document,
        listeners=(*listeners.values(), *quic),
        fronts=fronts,
        services=compile_services(compilation),
        warnings=tuple(report.warnings),
        summary=tuple(summary),
        logs=logs,
        targets=targets,
        activations=tuple(compilation.activations),
    )


def _prepare_published(compilation: Compilation, listeners: Iterable[Listener], rules: Assignment) -> None:
    """Find the names that rules publish, before the name server compiles its zones."""
    if any(getattr(rule, "publish", False) for rule in compilation.config.dispatch):
        from npserver.nameserver.publish.compile import prepare

        prepare(compilation, listeners, rules)
        return
    if compilation.config.public_address != "interface":
        from npserver.nameserver.publish.addresses import compile_sources

        compile_sources(compilation.report)
        compilation.report.warn(("public_address",), "'public_address' is not used: no rule has 'publish'")
    if compilation.context.pubsub.latest.get(TOPIC):
        compilation.services.append(Withdrawing(compilation.context.pubsub, forget_addresses))


def _compile_upstreams(compilation: Compilation) -> None:
    """Compile all upstreams, whether a rule uses them or not."""
    if compilation.config.upstreams:
        from npserver.upstream.compile import UPSTREAMS

        UPSTREAMS.of(compilation)


def _compile_front(
    compilation: Compilation, listener: Listener, rules: list[tuple[int, Rule]]
) -> StreamFront | DatagramFront | None:
    """Make what serves a listener. Each kind is imported where it is used: most configs need one or two."""
    if not rules:
        return None
    if speaks_http(listener, rules):
        from npserver.web.compile import compile_http_front

        return compile_http_front(compilation, listener, rules, kind_of)
    front: StreamFront | DatagramFront | None = load(kind_of(rules[0][1]).front)(compilation, listener, rules)
    return front
