"""The rule that has a request, those that it beats, and why: each other rule is asked as if it were the only one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from npserver.program.summary import describe_rule
from npserver.regex import regex
from npserver.web.compile import RULES, matching_router, rule_path
from npserver.web.config import HttpRule
from npserver.web.matching.conditions import Asked, Terms
from npserver.web.routing import ANY_HOST, Router

if TYPE_CHECKING:
    from npserver.explain.compiled import CompiledConfig
    from npserver.explain.exchange import AskedExchange
    from npserver.explain.explanation import Explanation
    from npserver.listen.listener import Listener
    from npserver.web.compile import Compiled
    from npserver.web.exchange import Route
    from npserver.web.routing import Pattern

MAX_SHOWN = 8  # rules that are beaten
_KEY = regex(r"dispatch\[(\d+)\]")

#: The keys of a rule for each part of its conditions.
_KEYS = {
    "methods": "match.method",
    "headers": "match.header",
    "queries": "match.query",
    "cookies": "match.cookie",
    "protocols": "match.protocol",
    "networks": "from",
}


class Place(Struct, frozen=True):
    """Where in the index a rule has a request: the host and the path that match, most specific first."""

    host: str
    pattern: Pattern


def index_of(route: Route) -> int | None:
    """Return the index in `dispatch` of the rule that a route is of, -1 for the rule of a listener without any."""
    found = _KEY.match(route.key)
    return int(found[1]) if found else -1 if route.key == "root" else None


def show_rule(
    config: CompiledConfig, listener: Listener, exchange: AskedExchange, found: Explanation, *, is_brief: bool
) -> None:
    """Add the steps about rules; with `is_brief` without those that are beaten."""
    rules = dict(config.rules_of(listener))
    winner = index_of(exchange.route)
    made = RULES.of(config.compilation)
    won: Place | None = None
    if winner is None:
        found.add("rule", "none matches the host and the path")
    else:
        rule = rules[winner]
        found.rule = exchange.route.key
        found.name = exchange.route.rule_name
        won = _place(made[winner], exchange)
        found.add(
            "rule", f"{found.rule}  {describe_rule(rule, is_default=winner < 0)}", config.place(rule_path(winner))
        )
    if is_brief:
        return
    beaten = []
    for index, rule in rules.items():
        if index == winner or not isinstance(rule, HttpRule):
            continue
        place = _place(made[index], exchange)
        if place is None:
            continue
        if _has(config, listener, index, exchange):
            beaten.append((index, rule, "beats", _why_beaten(place, won)))
        else:
            beaten.append((index, rule, "passed over", _why_not(made[index], exchange)))
    for index, rule, kind, why in beaten[:MAX_SHOWN]:
        what = f"dispatch[{index}]{f' {rule.name}' if rule.name else ''}"
        found.add(kind, f"{what}: {why}", config.place(rule_path(index)))
    if len(beaten) > MAX_SHOWN:
        found.add("beats", f"and {len(beaten) - MAX_SHOWN} more")


def _place(compiled: Compiled, exchange: AskedExchange) -> Place | None:
    """Return where the host and the path of a request match a rule; None if they do not."""
    host, path = exchange.request.host, exchange.request.path
    places = [Place(one, pattern) for one, pattern, route in compiled.entries
              if pattern.has(path) and Router([(one, pattern, route)]).find(host, path) is not None]  # fmt: skip
    if not places:
        return None
    return max(places, key=lambda one: (_rank(one.host), not one.pattern.is_prefix, len(one.pattern.path)))


def _rank(host: str) -> tuple[int, int]:
    """Return how specific a host is: exact ones before wildcards, the longest first, before any."""
    return (0, 0) if host == ANY_HOST else (1, len(host)) if host.startswith("*.") else (2, 0)


def _has(config: CompiledConfig, listener: Listener, index: int, exchange: AskedExchange) -> bool:
    """Whether a rule would have the request if it were the only one of the listener."""
    compiled = RULES.of(config.compilation)[index]
    if not compiled.has_conditions:
        return True
    nobody = replace(exchange.route, key="")
    route = matching_router(config.compilation, listener, [index], nobody).find(
        exchange.request.host, exchange.request.path
    )
    if route is not None and route.by_head is not None:
        route = route.by_head(exchange.request)
    if route is not None and route.by_address is not None:
        route = route.by_address(exchange.client_ip)
    return route is not None and route is not nobody


def _why_beaten(place: Place, won: Place | None) -> str:
    if won is None:
        return "it would have the request"
    if place.host != won.host:
        return f"its host {place.host or '*'} is less specific than {won.host or '*'}"
    if place.pattern != won.pattern:
        return f"its path {place.pattern} is less specific than {won.pattern}"
    return "it comes later, for the same host and path"


def _why_not(compiled: Compiled, exchange: AskedExchange) -> str:
    """Return which conditions of a rule do not hold."""
    asked = Asked(exchange.request, exchange.scheme)
    conditions = compiled.conditions
    keys = []
    if conditions is not None:
        for name in Terms.__struct_fields__:
            only = Terms(**{name: getattr(conditions.wanted, name)})
            if not (only.hold_for_head(asked) and only.hold_for_address(exchange.client_ip)):
                keys.append(f"'{_KEYS[name]}'")
        if any(one.hold_for_head(asked) and one.hold_for_address(exchange.client_ip) for one in conditions.unwanted):
            keys.append("'not'")
    if not keys:
        return "its 'path_regex' does not match"
    return f"{' and '.join(keys)} {'does' if len(keys) == 1 else 'do'} not hold"
