"""The table of rules, one line for each rule of each listener: shown at the start and by `npserver check`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from npserver.nameserver.config import DnsRule
from npserver.program.kinds import kind_of
from npserver.web.config import HttpRule, Rule
from npserver.web.handlers.respond.config import RespondRule

if TYPE_CHECKING:
    from npserver.config.document import Document
    from npserver.listen.listener import Listener
    from npserver.program.assignment import Assignment


def summarise(
    listeners: Iterable[Listener], rules: Assignment, document: Document | None = None
) -> tuple[tuple[str, str], ...]:
    """Return the label of the listener and a description for each rule of each listener.

    `document`: the compiled config, whose zones are then part of the description of a name server.
    """
    lines = []
    for listener in listeners:
        if not listener.is_shown:
            continue
        label = label_listener(listener)
        for index, rule in rules[listener.key]:
            what = describe_rule(rule, is_default=index < 0)
            if isinstance(rule, DnsRule) and document is not None:
                from npserver.nameserver.compile import describe_zones

                what += describe_zones(document)
            lines.append((label, what))
    return tuple(lines)


def label_listener(listener: Listener) -> str:
    """Return the label of a listener: its name, if it has one, and its URI."""
    uri = str(listener.address if listener.ports is None else listener.ports)
    return uri if listener.name in {uri, ""} or "://" in listener.name else f"{listener.name} {uri}"


def describe_rule(rule: Rule, *, is_default: bool = False) -> str:
    """Describe a rule: `/api/** proxy to http://127.0.0.1:8000`."""
    kind = kind_of(rule)
    what = "welcome page" if is_default and isinstance(rule, RespondRule) else kind.describe(rule)
    if not kind.is_http or not isinstance(rule, HttpRule):
        return what
    hosts = [rule.host] if isinstance(rule.host, str) else rule.host or [""]
    named = f"{rule.name}: " if rule.name else ""
    return f"{named}{', '.join(host + rule.path for host in hosts)}{_conditions(rule)}  {what}"


def _conditions(rule: HttpRule) -> str:
    """Name the conditions of a rule besides host and path."""
    keys = [name for name in ("method", "header", "query", "cookie", "protocol") if getattr(rule.match, name)]
    others = {"from": rule.from_, "not": rule.not_, "path_regex": rule.path_regex}
    keys += [name for name, value in others.items() if value]
    return f" if {', '.join(keys)}" if keys else ""
