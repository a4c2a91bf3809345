"""Routing by conditions: the second step after the index of hosts and paths (`web.routing`).

A request's candidates are the rules of the most specific host and path, in the order of the file, then those of the
next less specific path and host, and so on up to a rule without conditions. The first candidate whose conditions hold
has the request. Where the first candidate is a rule without conditions, the index has found the route already.

`web.compile` makes one for a listener if one of its rules has conditions.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from npserver.web.exchange import Route
from npserver.web.matching.conditions import Asked, Conditions
from npserver.web.matching.path_regex import MAX_PATH, matches
from npserver.web.routing import Pattern, Router

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from npserver.http.request import Request
    from npserver.web.exchange import Exchange

MAX_COMPARED = 100  # rules of a host and path, without given values, that all rules behind them are compared with
KINDS = ("header", "query", "cookie")  # of `Terms.values`


class Rule(Struct, frozen=True):
    """A rule as the router tries it."""

    host: str
    pattern: Pattern
    route: Route
    slash_route: Route  # of the pattern's prefix itself: a redirect, or `route`
    conditions: Conditions | None = None  # None: it has every request with its host and path
    path_regex: re.Pattern[str] | None = None

    def route_of(self, path: str) -> Route | None:
        """Return the route of a path that begins with the pattern's prefix; None if the rule does not have it."""
        if not self.pattern.has(path):
            return None
        if self.path_regex is not None:
            if len(path) > MAX_PATH:
                return _too_long(self.route)
            if not matches(self.path_regex, path):
                return None
        return self.slash_route if path == self.pattern.path else self.route

    def hides(self, other: Rule) -> bool:
        """Return whether `other`, of the same place in the index and tried later, never has a request."""
        if self.pattern != other.pattern:
            return False
        if self.path_regex is not None and self.path_regex != other.path_regex:
            return False
        if self.conditions is None:
            return True
        return other.conditions is not None and self.conditions.follow_from(other.conditions)


class MatchingRouter:
    """The routes of a listener.

    Args:
        rules: in the order of the file, those of several hosts once for each.
        scheme: of the listener: "http" or "https".
        unrouted: the route of requests that no rule has.
    """

    __slots__ = ("_index", "_scheme", "_unrouted", "duplicates")

    def __init__(self, rules: Iterable[Rule], scheme: str, unrouted: Route) -> None:
        self._scheme = scheme
        self._unrouted = unrouted
        places: dict[tuple[str, str, bool], list[Rule]] = {}
        for rule in rules:
            places.setdefault((rule.host, rule.pattern.path, rule.pattern.is_prefix), []).append(rule)
        for found in places.values():
            found.sort(key=lambda rule: rule.pattern.order)
        self._index: Router[list[Rule]] = Router(
            (host, Pattern(path, is_prefix), found) for (host, path, is_prefix), found in places.items()
        )
        #: Rules that never have a request, each with the rule that has it instead.
        self.duplicates = [pair for found in places.values() for pair in _hidden(found)]

    def find(self, host: str, path: str) -> Route | None:
        """Return the route for a host and a path; one that is still to choose (`Route.by_head`) if it takes more."""
        candidates: list[tuple[Conditions, Route]] = []
        for rules in self._index.find_all(host, path):
            for rule in rules:
                route = rule.route_of(path)
                if route is not None:
                    if rule.conditions is None:
                        return self._choice(candidates, route) if candidates else route
                    candidates.append((rule.conditions, route))
        return self._choice(candidates, self._unrouted) if candidates else None

    def _choice(self, candidates: list[tuple[Conditions, Route]], last: Route) -> Route:
        scheme = self._scheme

        def by_head(request: Request) -> Route:
            asked = Asked(request, scheme)
            possible: list[tuple[Conditions, Route]] = []
            for conditions, route in candidates:
                if conditions.may_hold(asked):
                    if not conditions.needs_address:
                        return _by_address(asked, possible, route)
                    possible.append((conditions, route))
            return _by_address(asked, possible, last)

        size = min(route.max_body_size for route in [last, *[route for _, route in candidates]])
        return _deferred(by_head, size, by_head=by_head)


class PathTooLong:
    """Answers requests whose path is too long for the regular expression of a rule.

    It may be meant to refuse them: that it does not match must not let them pass.
    """

    __slots__ = ()

    def handle(self, exchange: Exchange) -> None:
        """Answer 414."""
        exchange.fail(414, f"path of more than {MAX_PATH} characters, which no regular expression is compared with")


class DeferredHandler:
    """Finds the route of an exchange that was begun without it, and has that answer."""

    __slots__ = ("_find",)

    def __init__(self, find: Callable[[Request], Route]) -> None:
        self._find = find

    def handle(self, exchange: Exchange) -> None:
        """Choose by the head, then by the address."""
        route = self._find(exchange.request)
        if route.by_address is not None:
            route = route.by_address(exchange.client_ip)
        exchange.reroute(route)


def _by_address(asked: Asked, possible: list[tuple[Conditions, Route]], last: Route) -> Route:
    """Return the route that is the first of `possible` whose conditions hold for the client, else `last`."""
    if not possible:
        return last

    def by_address(client_ip: str) -> Route:
        for conditions, route in possible:
            if conditions.hold(asked, client_ip):
                return route
        return last

    made: Route = _deferred(lambda request: made, last.max_body_size, by_address=by_address)
    return made


def _too_long(route: Route) -> Route:
    """Return the route of paths that are too long for the regular expression of a rule."""
    return Route(
        name=route.name,
        handler=PathTooLong(),
        max_body_size=route.max_body_size,
        key=f"{route.key}.path_regex",
        rule_name=route.rule_name,
        failures=route.failures,
    )


def _deferred(
    find: Callable[[Request], Route],
    max_body_size: int,
    *,
    by_head: Callable[[Request], Route] | None = None,
    by_address: Callable[[str], Route] | None = None,
) -> Route:
    """Return a route that stands for others until it is chosen among them. It is answered by no fast way."""
    return Route(
        name="conditions of rules",
        handler=DeferredHandler(find),
        max_body_size=max_body_size,
        by_head=by_head,
        by_address=by_address,
    )


def _hidden(rules: list[Rule]) -> Iterator[tuple[Route, Route]]:
    """Yield the rules of one place in the index that never have a request, each with the rule that has it.

    A rule that wants given values hides only rules that want some of them: those are found by the values. So thousands
    of rules for different cookies take no longer to compare than to compile.
    """
    by_key: dict[tuple[str, ...], list[Rule]] = {}
    others: list[Rule] = []
    for rule in rules:
        earlier = [*others[:MAX_COMPARED], *[one for key in _wanted_by(rule) for one in by_key.get(key, ())]]
        first = next((one for one in earlier if one.hides(rule)), None)
        if first is not None:
            yield rule.route, first.route
        elif keys := _needed_by(rule):
            for key in keys:
                by_key.setdefault(key, []).append(rule)
        else:
            others.append(rule)


def _needed_by(rule: Rule) -> list[tuple[str, ...]]:
    """Return keys of which each rule that this one hides has one; none if such a rule may have anything."""
    if rule.path_regex is not None:
        return [("path_regex", rule.path_regex.pattern)]
    if rule.conditions is not None:
        for kind, values in zip(KINDS, rule.conditions.wanted.values, strict=True):
            for one in values:
                if one.globs and all(len(glob.parts) == 1 for glob in one.globs):
                    return [(kind, one.name, glob.text) for glob in one.globs]
    return []


def _wanted_by(rule: Rule) -> Iterator[tuple[str, ...]]:
    """Yield the keys of everything that a rule wants."""
    if rule.path_regex is not None:
        yield "path_regex", rule.path_regex.pattern
    if rule.conditions is not None:
        for kind, values in zip(KINDS, rule.conditions.wanted.values, strict=True):
            for one in values:
                for glob in one.globs:
                    yield kind, one.name, glob.text
