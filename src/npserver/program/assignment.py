"""Assign the rules to the listeners, and report rules that no client can reach."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.address import HTTP, HTTP_ONLY, QUIC, schemes_serving
from npserver.errors import clip
from npserver.forward.config import ForwardRule
from npserver.listen.compile import entries, names_of
from npserver.nameserver.config import DnsRule
from npserver.program.default_rule import default_rule
from npserver.program.kinds import kind_of
from npserver.runtime.compilation import PerCompilation
from npserver.web.config import Rule

if TYPE_CHECKING:
    from npserver.config.report import Path, Report
    from npserver.listen.listener import Listener

#: Rules by listener key, each with its index in `dispatch`; -1 is the rule of a listener that has none.
Assignment = dict[str, list[tuple[int, Rule]]]

#: The assignment of a compilation, once `program.compile` has made it.
ASSIGNED: PerCompilation[Assignment] = PerCompilation(lambda _: {})

_HTTP = schemes_serving(HTTP)


def speaks_http(listener: Listener, rules: list[tuple[int, Rule]]) -> bool:
    """Whether a listener with these rules serves HTTP: unix and ssl do where no forward or name server has them."""
    scheme = listener.address.scheme
    if scheme in HTTP_ONLY:
        return True
    return scheme in _HTTP and all(kind_of(rule).is_http for _, rule in rules)


def assign_rules(report: Report, listeners: dict[int, Listener]) -> Assignment:
    """Find the rules of each listener, in the order of `dispatch`. Listeners without any get a rule of their own.

    Args:
        listeners: by the numbers that `entries` gives them; one that is missing there had errors.
    """
    dispatch = report.document.config.dispatch
    assigned: Assignment = {listener.key: [] for listener in listeners.values()}
    by_name = _by_name(report, listeners)
    for index, rule in enumerate(dispatch):
        if rule.listener is not None:
            for listener in _named(report, index, rule, by_name):
                if _fits(report, index, rule, listener):
                    assigned[listener.key].append((index, rule))
    for listener in listeners.values():
        _settle(report, listener, assigned[listener.key])
    taken = {key for key, rules in assigned.items() if rules}
    for index, rule in enumerate(dispatch):
        if rule.listener is None:
            found = [one for one in listeners.values() if _is_unasked_for(rule, one, assigned[one.key], taken)]
            for listener in found:
                if _fits(report, index, rule, listener):
                    assigned[listener.key].append((index, rule))
            if not found:
                _report_unused(report, index, rule)
    paths = {number: path[:2] for number, _, path in entries(report.document.config)}
    for number, listener in listeners.items():
        rules = assigned[listener.key]
        rules.sort(key=lambda item: item[0])
        _drop_shadowed(report, listener, rules)
        if not rules:
            _give_default(report, paths[number], listener, rules)
    return assigned


def _by_name(report: Report, listeners: dict[int, Listener]) -> dict[str, list[Listener]]:
    """Listeners by name, by URI as written and as understood: one, all of a range of ports, none if it has errors."""
    names: dict[str, list[Listener]] = {}
    config = report.document.config
    for number, entry, path in entries(config):
        listener = listeners.get(number)
        understood = [] if listener is None else [str(listener.address), listener.group]
        for name in dict.fromkeys([*names_of(config, entry, path), *understood]):
            found = names.setdefault(name, [])
            if listener is not None and not (found and (listener.ports is None or found[0].ports != listener.ports)):
                found.append(listener)
    return names


def _named(report: Report, index: int, rule: Rule, by_name: dict[str, list[Listener]]) -> list[Listener]:
    names = [rule.listener] if isinstance(rule.listener, str) else rule.listener or []
    if not names:
        report.error(("dispatch", index, "listener"), "'listener' names none; leave it out for all that speak HTTP")
    found: list[Listener] = []
    keys: set[str] = set()
    for place, name in enumerate(names):
        if name not in by_name:
            path: Path = ("dispatch", index, "listener")
            if not isinstance(rule.listener, str):
                path = (*path, place)
            known = ", ".join(map(repr, list(by_name)[:8])) or "none is defined"
            from npserver.config.decode import did_you_mean

            report.error(path, f"unknown listener {clip(name)}{did_you_mean(name, by_name) or f'; known: {known}'}")
        else:
            found += [one for one in by_name[name] if one.key not in keys]
            keys.update(one.key for one in by_name[name])
    return found


def _fits(report: Report, index: int, rule: Rule, listener: Listener) -> bool:
    """Whether the listener's scheme can carry what the rule serves; if not, it is reported with the remedy."""
    path, scheme, uri, kind = ("dispatch", index), listener.address.scheme, clip(str(listener.address)), kind_of(rule)
    if scheme in schemes_serving(*kind.protocols):
        if isinstance(rule, DnsRule) and listener.address.is_wildcard and scheme not in HTTP_ONLY and not rule.public:
            report.error(
                path,
                f"DNS on {uri} would answer everybody, open name servers are abused for attacks: "
                'listen on one address, or add "public": true',
            )
            return False
        return True
    if isinstance(rule, ForwardRule):
        instead = "ssl" if scheme == "https" else "tcp"
        report.error(path, f"handler 'forward' cannot serve {uri}: listen on {instead}://, or use handler 'proxy'")
    elif isinstance(rule, DnsRule):
        report.error(path, f"handler 'dns' cannot serve {uri}: listen on udp, tcp, ssl, quic or https")
    else:
        remedy = "use handler 'forward' or 'dns'" if scheme != "tcp" else "listen on http://, or use handler 'forward'"
        report.error(path, f"handler {kind.name!r} speaks HTTP and cannot serve {uri}: {remedy}")
    return False


def _settle(report: Report, listener: Listener, rules: list[tuple[int, Rule]]) -> None:
    """Keep the rules of the kind of the first one, where a listener can serve only one kind."""
    if listener.address.scheme in HTTP_ONLY or not rules:
        return
    first_index, first = rules[0]
    kind = _protocols(first)
    for index, rule in rules[1:]:
        if _protocols(rule) != kind:
            where = report.document.place(("dispatch", first_index))
            report.error(
                ("dispatch", index),
                f"handler {kind_of(rule).name!r} cannot share listener {clip(listener.name)} "
                f"with handler {kind_of(first).name!r} at {where}",
            )
    rules[:] = [(index, rule) for index, rule in rules if _protocols(rule) == kind]


def _protocols(rule: Rule) -> frozenset[str]:
    return kind_of(rule).protocols


def _is_unasked_for(rule: Rule, listener: Listener, rules: list[tuple[int, Rule]], taken: set[str]) -> bool:
    """Whether a rule without `listener` is for this one: HTTP rules go to all HTTP, others to what has no rules."""
    kind = kind_of(rule)
    if kind.is_http:
        return speaks_http(listener, rules)
    return listener.key not in taken and listener.address.scheme in schemes_serving(*kind.protocols) - _HTTP


def _report_unused(report: Report, index: int, rule: Rule) -> None:
    path = ("dispatch", index)
    if not kind_of(rule).is_http:
        report.error(path, f'handler {kind_of(rule).name!r} needs "listener": no tcp or udp listener is without rules')
    else:
        report.warn(path, "this rule is never used: no listener speaks HTTP")


def _drop_shadowed(report: Report, listener: Listener, rules: list[tuple[int, Rule]]) -> None:
    """Drop rules that nothing tells apart from an earlier one. HTTP rules are compared by the router."""
    if listener.address.scheme in HTTP_ONLY:
        return
    first: dict[object, int] = {}
    kept = []
    for index, rule in rules:
        if kind_of(rule).is_http:
            return
        mark = (_names(rule.sni), _names(rule.from_)) if isinstance(rule, ForwardRule) else None
        other = first.setdefault(mark, index)
        if other == index:
            kept.append((index, rule))
            continue
        where = report.document.place(("dispatch", other))
        hint = '; tell them apart by "from" or "sni"' if isinstance(rule, ForwardRule) else ""
        report.warn(
            ("dispatch", index),
            f"this rule is never used: listener {clip(listener.name)} has the rule at {where} already{hint}",
        )
    rules[:] = kept


def _names(value: str | list[str] | None) -> frozenset[str]:
    return frozenset([value] if isinstance(value, str) else value or [])


def _give_default(report: Report, path: Path, listener: Listener, rules: list[tuple[int, Rule]]) -> None:
    """Give a listener without rules the default rule; for one that does not speak HTTP, report that it needs a rule."""
    if listener.address.scheme in _HTTP:
        rules.append((-1, default_rule(report)))
        return
    remedy = 'add -to HOST:PORT after it, or a rule {"handler": "forward", "listener": ..., "forward_to": ...}'
    if listener.address.scheme == QUIC:
        remedy = (
            'it serves DNS over QUIC, add a rule {"handler": "dns", "listener": ...}; HTTP/3 is "http3" of https://'
        )
    report.error(path, f"nothing to do for {clip(str(listener.address))}: {remedy}")
