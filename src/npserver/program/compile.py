"""From a config to live objects: the only place that knows both.

`compile_config` compiles part by part; each part reports what is wrong with it into one `Report`, so that everything
is said at once. Nothing here uses the network, starts a task or opens a listening socket: `npserver check` compiles
too.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from npserver.config.networks import check_networks
from npserver.config.report import Report
from npserver.config.schema import AnyRule
from npserver.errors import clip
from npserver.forward.config import ForwardRule
from npserver.listen.compile import compile_listeners
from npserver.program.assignment import Assignment, assign_rules, speaks_http
from npserver.program.runtime import Runtime
from npserver.program.summary import summarise
from npserver.program.unserved import check_unserved
from npserver.tls.certificates import store_of

if TYPE_CHECKING:
    from npserver.config.document import Document
    from npserver.listen.listener import Listener
    from npserver.runtime.context import Context
    from npserver.runtime.front import DatagramFront, StreamFront
    from npserver.upstream.group import Upstream


def compile_config(document: Document, context: Context) -> Runtime:
    """Compile a whole config for the process that `context` is of. Raises: ConfigError with everything wrong."""
    from npserver.program.services import compile_services

    report = Report(document, store_of(context))
    fronts: dict[str, StreamFront | DatagramFront] = {}
    try:
        check_networks(report)
        _check_logging(report)
        listeners = compile_listeners(report)
        rules = assign_rules(report, listeners)
        upstreams = _compile_upstreams(report, context)
        for listener in listeners.values():
            if front := _compile_front(report, context, listener, rules[listener.key], upstreams):
                fronts[listener.key] = front
        check_unserved(report, context, rules, upstreams)
        report.raise_errors()
    except BaseException:
        for front in fronts.values():
            front.close()
        raise
    return Runtime(
        document=document,
        listeners=tuple(listeners.values()),
        fronts=fronts,
        services=compile_services(document.config, context, upstreams),
        warnings=tuple(report.warnings),
        summary=summarise(listeners.values(), rules),
    )


def _compile_upstreams(report: Report, context: Context) -> dict[str, Upstream]:
    if not report.document.config.upstreams:
        return {}
    from npserver.upstream.compile import compile_upstreams

    return compile_upstreams(report, context)


def _compile_front(
    report: Report,
    context: Context,
    listener: Listener,
    rules: list[tuple[int, AnyRule]],
    upstreams: dict[str, Upstream],
) -> StreamFront | DatagramFront | None:
    """Make what serves a listener. Each kind is imported where it is used: most configs need one or two."""
    if not rules:
        return None
    if speaks_http(listener, rules):
        from npserver.web.compile import compile_http_front

        return compile_http_front(report, context, listener, rules, upstreams)
    if isinstance(rules[0][1], ForwardRule):
        from npserver.forward.compile import compile_forward_front

        return compile_forward_front(report, context, listener, rules, upstreams)
    from npserver.nameserver.compile import compile_dns_front

    return compile_dns_front(report, context, listener, rules[0], upstreams)


def _check_logging(report: Report) -> None:
    name = report.document.config.logging.access_log
    if name in {"stdout", "stderr", "off"}:
        return
    file = os.path.join(report.document.directory, name)
    directory = os.path.dirname(file) or "."
    if not os.path.isdir(directory):
        report.error(("logging", "access_log"), f"no directory {clip(directory)} to write the access log to")
    elif os.path.isdir(file) or not os.access(file if os.path.exists(file) else directory, os.W_OK):
        report.error(("logging", "access_log"), f"no permission to write {clip(name)}")


__all__ = ["Assignment", "compile_config"]
