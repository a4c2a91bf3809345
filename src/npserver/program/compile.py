"""Compile a whole config into the objects that serve it.

`compile_config` compiles part by part; each part writes its errors to one `config.report.Report`, so that all are shown
at once. Compiling does not use the network, start tasks or open listening sockets: `npserver check` compiles too.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from npserver.config.networks import check_networks
from npserver.errors import clip
from npserver.listen.certificates import add_certificates
from npserver.listen.compile import compile_listeners
from npserver.program.assignment import assign_rules, speaks_http
from npserver.program.hosts import hosts_of
from npserver.program.kinds import kind_of
from npserver.program.runtime import Runtime
from npserver.program.summary import summarise
from npserver.program.unserved import check_unserved
from npserver.runtime.compilation import Compilation
from npserver.web.handlers.kinds import load

if TYPE_CHECKING:
    from npserver.config.document import Document
    from npserver.config.report import Report
    from npserver.listen.listener import Listener
    from npserver.runtime.context import Context
    from npserver.runtime.front import DatagramFront, StreamFront
    from npserver.web.config import Rule


def compile_config(document: Document, context: Context) -> Runtime:
    """Compile a whole config for the process that `context` is of. Raises: ConfigError with everything wrong."""
    from npserver.program.services import compile_services

    compilation = Compilation(document, context)
    report = compilation.report
    fronts: dict[str, StreamFront | DatagramFront] = {}
    try:
        check_networks(report)
        _check_logging(report)
        if report.document.config.user is not None or report.document.config.group is not None:
            from npserver.config.identity import check_identity

            check_identity(report)
        listeners = compile_listeners(compilation)
        rules = assign_rules(report, listeners)
        listeners = add_certificates(
            compilation, listeners, lambda listener: hosts_of(rule for _, rule in rules[listener.key])
        )
        _compile_upstreams(compilation)
        for listener in listeners.values():
            if front := _compile_front(compilation, listener, rules[listener.key]):
                fronts[listener.key] = front
        check_unserved(compilation, rules)
        report.raise_errors()
    except BaseException:
        for front in fronts.values():
            front.close()
        raise
    return Runtime(
        document=document,
        listeners=tuple(listeners.values()),
        fronts=fronts,
        services=compile_services(compilation),
        warnings=tuple(report.warnings),
        summary=summarise(listeners.values(), rules, document),
    )


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
