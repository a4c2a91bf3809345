"""Check `logging`, and compile the conditions of its access logs. Called by `program.compile`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from npserver.config.units import parse_percent
from npserver.errors import clip
from npserver.observe.config import STANDARD, AccessLogSection, LogDestination, access_logs, query_log
from npserver.observe.remote.destinations import parse_destination

if TYPE_CHECKING:
    from npserver.config.jsonc import Path
    from npserver.config.report import Report
    from npserver.observe.access_output import Condition


def compile_logging(report: Report) -> tuple[Condition | None, ...]:
    """Check the outputs of the logs. Return `only` of each access log; nothing if none has it."""
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
    if all(one.only is None for one in logs):
        return ()
    from npserver.observe.conditions import compile_condition  # few configs have any

    conditions: list[Condition | None] = []
    for number, one in enumerate(logs):
        try:
            conditions.append(None if one.only is None else compile_condition(one.only))
        except ValueError as error:
            report.error(("logging", "access_log", number, "only"), f"'only': {error}")
    return tuple(conditions)


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
