"""What each listener does, in a line per rule: the table at the start and what `npserver check` prints."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from npserver.config.schema import AnyRule
from npserver.forward.config import ForwardRule
from npserver.nameserver.config import DnsRule
from npserver.web.handlers.proxy.config import ProxyRule
from npserver.web.handlers.redirect.config import RedirectRule
from npserver.web.handlers.respond.config import RespondRule
from npserver.web.handlers.static.config import StaticRule
from npserver.web.handlers.status.config import StatusRule

if TYPE_CHECKING:
    from npserver.listen.listener import Listener
    from npserver.program.assignment import Assignment


def summarise(listeners: Iterable[Listener], rules: Assignment) -> tuple[tuple[str, str], ...]:
    """Give (listener, what it does) for each rule of each listener."""
    lines = []
    for listener in listeners:
        label = label_listener(listener)
        lines += [(label, describe_rule(rule, is_default=index < 0)) for index, rule in rules[listener.key]]
    return tuple(lines)


def label_listener(listener: Listener) -> str:
    """How a listener is shown: its name, if it was given one, and its URI."""
    uri = str(listener.address)
    return uri if listener.name in {uri, ""} or "://" in listener.name else f"{listener.name} {uri}"


def describe_rule(rule: AnyRule, *, is_default: bool = False) -> str:
    """What a rule does, as `/api/** proxy to http://127.0.0.1:8000`."""
    match rule:
        case ForwardRule():
            return f"forward to {rule.forward_to}{_only('for', rule.sni)}{_only('from', rule.from_)}"
        case DnsRule():
            return "name server"
        case StaticRule():
            what = f"files from {rule.root}"
        case ProxyRule():
            what = f"proxy to {rule.proxy_pass}"
        case RedirectRule():
            what = f"redirect to {rule.to}"
        case RespondRule():
            what = "welcome page" if is_default else f"respond {rule.status}"
        case StatusRule():
            what = "status page"
    hosts = [rule.host] if isinstance(rule.host, str) else rule.host or [""]
    return f"{', '.join(host + rule.path for host in hosts)}  {what}"


def _only(word: str, names: str | list[str] | None) -> str:
    return f" {word} {names if isinstance(names, str) else ', '.join(names)}" if names else ""
