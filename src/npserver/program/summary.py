"""The table of rules, one line for each rule of each listener: shown at the start and by `npserver check`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from npserver.program.kinds import kind_of
from npserver.web.config import HttpRule, Rule
from npserver.web.handlers.respond.config import RespondRule

if TYPE_CHECKING:
    from npserver.listen.listener import Listener
    from npserver.program.assignment import Assignment


def summarise(listeners: Iterable[Listener], rules: Assignment) -> tuple[tuple[str, str], ...]:
    """Return the label of the listener and a description for each rule of each listener."""
    lines = []
    for listener in listeners:
        label = label_listener(listener)
        lines += [(label, describe_rule(rule, is_default=index < 0)) for index, rule in rules[listener.key]]
    return tuple(lines)


def label_listener(listener: Listener) -> str:
    """Return the label of a listener: its name, if it has one, and its URI."""
    uri = str(listener.address)
    return uri if listener.name in {uri, ""} or "://" in listener.name else f"{listener.name} {uri}"


def describe_rule(rule: Rule, *, is_default: bool = False) -> str:
    """Describe a rule: `/api/** proxy to http://127.0.0.1:8000`."""
    kind = kind_of(rule)
    what = "welcome page" if is_default and isinstance(rule, RespondRule) else kind.describe(rule)
    if not kind.is_http or not isinstance(rule, HttpRule):
        return what
    hosts = [rule.host] if isinstance(rule.host, str) else rule.host or [""]
    return f"{', '.join(host + rule.path for host in hosts)}  {what}"
