"""The host names that the rules of a listener are for: names of its certificates, where npserver makes them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from npserver.forward.config import ForwardRule
from npserver.idn import to_ascii
from npserver.web.config import HttpRule, Rule
from npserver.web.routing import parse_host


def hosts_of(rules: Iterable[Rule]) -> tuple[str, ...]:
    """Return the host patterns in lower-case ASCII, each once, IPv6 addresses without brackets.

    "" stands for rules that name no host. Patterns that are not valid are left out: they are reported elsewhere.
    """
    found: list[str] = []
    for rule in rules:
        if isinstance(rule, HttpRule):
            hosts = [rule.host] if isinstance(rule.host, str) else rule.host
        else:
            hosts = ([rule.sni] if isinstance(rule.sni, str) else rule.sni) if isinstance(rule, ForwardRule) else None
        for host in [""] if hosts is None else hosts:
            with suppress(ValueError):
                name = parse_host(host) if isinstance(rule, HttpRule) else to_ascii(host).lower().removesuffix(".")
                found.append(name.strip("[]"))
    return tuple(dict.fromkeys(found))
