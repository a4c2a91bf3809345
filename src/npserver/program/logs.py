"""Check `logging`, and compile its access logs: their conditions and texts. Called by `program.compile`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from npserver.config.units import parse_percent
from npserver.errors import clip
from npserver.observe.access_output import CompiledLog, Only
from npserver.observe.config import (
    STANDARD,
    AccessLogSection,
    LogDestination,
    access_logs,
    has_texts,
    is_compiled,
    query_log,
)  # fmt: skip
from npserver.observe.line_log import dropped_counter
from npserver.observe.log_formats import FORMATS
from npserver.observe.remote.destinations import parse_destination

if TYPE_CHECKING:
    from npserver.config.jsonc import Path
    from npserver.config.report import Report
    from npserver.runtime.compilation import Compilation


def compile_logging(compilation: Compilation) -> tuple[CompiledLog, ...]:
    """Check the outputs of the logs. Return what is compiled of each access log; nothing if that is nothing."""
    report = compilation.report
    logging = report.document.config.logging
    written = logging.access_log
    if isinstance(written, str):
        _check_destination(report, ("logging", "access_log"), written)
    else:
        _check_list(report, written)
    queries, place = query_log(logging), ("logging", "query_log")
    if queries.to != "off" and isinstance(logging.query_log, LogDestination):
        _check_ca(report, place, queries)
    _check_destination(report, place if isinstance(logging.query_log, str) else (*place, "to"), queries.to, "query log")
    rules = report.document.config.dispatch
    if queries.to != "off" and not any(getattr(type(rule), "uses_dns_ports", False) for rule in rules):
        report.warn(("logging", "query_log"), "no effect: no rule has handler 'dns', so there are no queries")
    logs = access_logs(logging)
    for what, one in [*[("access log", log) for log in logs], ("query log", queries)]:
        if one.to != "off":
            compilation.context.row.slot(dropped_counter(what, one.to))
    if not any(is_compiled(one) for one in logs):
        return ()
    return tuple([_compile(compilation, number, one) for number, one in enumerate(logs)])


def _compile(compilation: Compilation, number: int, log: AccessLogSection) -> CompiledLog:
    path: Path = ("logging", "access_log", number)
    condition, own, gives_ids = None, None, False
    if log.only is not None:
        from npserver.observe.conditions import compile_condition  # few configs have any

        try:
            condition = compile_condition(log.only)
        except ValueError as error:
            compilation.report.error((*path, "only"), f"'only': {error}")
        else:
            _check_types(compilation, (*path, "only"), log, condition)
    if has_texts(log):
        from npserver.web.logs.formats import compile_format
        from npserver.web.logs.needs import NEEDS

        own, gives_ids = compile_format(compilation, path, log), NEEDS.of(compilation).ids
    return CompiledLog(condition, own, gives_ids)


def _check_types(compilation: Compilation, path: Path, log: AccessLogSection, only: Only) -> None:
    """Warn of lines that conditions ask for and that the log never has."""
    report = compilation.report
    if only.query is not None and not compilation.config.logging.dns_queries:
        report.warn(path, "no effect of 'type = query': access logs have queries with 'logging.dns_queries' alone")
    if (only.session or only.query) and log.format not in ("pretty", "json"):
        report.warn(path, "no effect of 'type': sessions and queries have lines in the formats pretty and json alone")


def _check_list(report: Report, written: list[str | AccessLogSection]) -> None:
    seen: set[str] = set()
    for number, one in enumerate(written):
        path: Path = ("logging", "access_log", number)
        name = one if isinstance(one, str) else one.to
        if isinstance(one, AccessLogSection):
            _check_object(report, path, one)
            path = (*path, "to")
        if name == "off":
            report.error(path, "'off' has no place in a list: leave it out")
        elif name in seen:
            report.error(path, f"{clip(name)} is the destination of two access logs: lines would be there twice")
        else:
            _check_destination(report, path, name)
        seen.add(name)


def _check_object(report: Report, path: Path, log: AccessLogSection) -> None:
    if log.format is not None and "$" not in log.format and log.format not in FORMATS:
        names = ", ".join([f'"{name}"' for name in FORMATS])
        report.error((*path, "format"), f"expected {names} or a text with $variables, got {clip(log.format)}")
    share = 1.0
    try:
        share = parse_percent(log.sample)
    except ValueError as error:
        report.error((*path, "sample"), f"'sample': {error}")
    if log.keep_errors and share == 1:
        report.warn((*path, "keep_errors"), "no effect: all lines are written without 'sample'")
    _check_ca(report, path, log)


def _check_ca(report: Report, path: Path, log: LogDestination) -> None:
    if log.ca is None:
        return
    if not log.to.startswith("syslog+tls://"):
        report.error((*path, "ca"), "'ca' is for 'to' with syslog+tls:// alone")
        return
    from npserver.observe.remote.connection import make_tls_context

    try:
        make_tls_context(log.ca, report.document.directory)
    except OSError as error:
        report.error((*path, "ca"), f"cannot read certificates from {clip(log.ca)}: {error.strerror or error}")


def _check_destination(report: Report, path: Path, name: str, what: str = "access log") -> None:
    try:
        destination = parse_destination(name)
    except ValueError as error:
        report.error(path, str(error))
        return
    if destination is None:
        _check_output(report, path, name, what)


def _check_output(report: Report, path: Path, name: str, what: str) -> None:
    if name in STANDARD:
        return
    file = os.path.join(report.document.directory, name)
    directory = os.path.dirname(file) or "."
    if not os.path.isdir(directory):
        report.error(path, f"no directory {clip(directory)} to write the {what} to")
    elif os.path.isdir(file) or not os.access(file if os.path.exists(file) else directory, os.W_OK):
        report.error(path, f"no permission to write {clip(name)}")
