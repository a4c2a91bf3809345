"""Compiles the front of a listener that speaks HTTP: from rules to routes, from routes to a router."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from npserver.config.report import placed
from npserver.errors import clip
from npserver.host_hints import hint_at_host
from npserver.network_sets.events import LEARNING
from npserver.runtime.compilation import Compilation, PerCompilation
from npserver.tls.acme.answering.answers import ANSWERS
from npserver.web.challenges import ChallengeRouter
from npserver.web.checks import CONTROL
from npserver.web.compile_route import compile_route
from npserver.web.config import HttpRule, Rule
from npserver.web.exchange import Route, make_route
from npserver.web.handlers.kinds import HandlerKind, load
from npserver.web.maps.compile import MAPS
from npserver.web.matching.config import Match
from npserver.web.request_times import request_times
from npserver.web.routing import Pattern, Router, parse_host, parse_pattern
from npserver.web.scan_watch import scan_watch
from npserver.web.server.front import HttpFront, Unrouted
from npserver.web.slash_redirect import slash_redirects
from npserver.web.trusted_proxies import TRUSTED_PROXIES

if TYPE_CHECKING:
    import re

    from npserver.config.report import Path, Report
    from npserver.listen.listener import Listener
    from npserver.web.config import Limits
    from npserver.web.exchange import Middleware
    from npserver.web.matching.conditions import Conditions
    from npserver.web.matching.router import MatchingRouter
    from npserver.web.server.roles import RouterRole

MIN_WINDOW_BYTES = 16 << 10  # a DATA frame's
MAX_WINDOW_BYTES = 511 << 20  # four times that is what RFC 9113 §6.9.1 allows

KindOf = Callable[[Rule], HandlerKind[Any]]
Entry = tuple[str, Pattern, Route]  # of a router: host, path, and where both lead


class Compiled(Struct, frozen=True):
    """A rule, compiled."""

    entries: list[Entry]
    has_conditions: bool = False
    conditions: Conditions | None = None
    path_regex: re.Pattern[str] | None = None


#: The compiled rules, by their index in `dispatch`.
RULES: PerCompilation[dict[int, Compiled]] = PerCompilation(lambda _: {})
_NAMES: PerCompilation[dict[str, Path]] = PerCompilation(lambda _: {})  # places of the names of rules
_UNUSED: PerCompilation[set[int]] = PerCompilation(lambda _: set())  # rules already warned of


def compile_http_front(
    compilation: Compilation, listener: Listener, rules: list[tuple[int, Rule]], kind_of: KindOf
) -> HttpFront:
    """Make the front of a listener. Rules with errors are left out; the report has the errors.

    `kind_of` finds the kind of a rule: `program.kinds` knows those that are not in `web.handlers.kinds` too.
    """
    report, config = compilation.report, compilation.config
    made = RULES.of(compilation)
    MAPS.of(compilation)  # those that no rule uses are checked too
    entries: list[Entry] = []
    places: dict[int, int] = {}  # rule's index by its route's identity
    for index, rule in rules:
        if index not in made or index < 0:
            made[index] = _compile_rule(compilation, index, rule, kind_of)
        kind = kind_of(rule)
        if kind.check:
            load(kind.check)(compilation, rule_path(index), rule, listener)
        entries += made[index].entries
        places.update({id(route): index for _, _, route in made[index].entries})
    middleware = (*scan_watch(compilation), *_global_error_pages(compilation))
    times = request_times(compilation, "unrouted", [])
    unrouted = make_route("unrouted", Unrouted(), config.limits.max_body_size, middleware, times=times)
    router: Router[Route] = Router([*entries, *slash_redirects(entries)])
    has_conditions = any(made[index].has_conditions for index, _ in rules)
    chosen: RouterRole = router
    duplicates = router.duplicates
    if has_conditions:
        matching = matching_router(compilation, listener, [index for index, _ in rules], unrouted)
        chosen, duplicates = matching, matching.duplicates
    for unused, first in duplicates:
        if id(unused) in places:  # not a redirect that a rule stands in for
            _warn_unused(compilation, places[id(unused)], places[id(first)])
    for index, rule in rules:
        if kind_of(rule).has_paths_below:
            _hint_at_exact_paths(report, index, made[index].entries, router)
    if listener.offers_http2:
        from npserver.web.server.http2 import connection  # noqa: F401 - before the fork, and before the first client
    _check_window(report, config.limits)
    name = config.server_header
    front_class = HttpFront
    if has_conditions:
        from npserver.web.matching.front import MatchingFront

        front_class = MatchingFront
    front = front_class(
        ChallengeRouter(chosen, unrouted, ANSWERS.of(compilation.context)),
        compilation.context,
        config.limits,
        config.timeouts,
        server_header=name if isinstance(name, str) else "npserver" if name else "",
        trusted=TRUSTED_PROXIES.of(compilation),
    )
    learning = LEARNING.of(compilation)
    front.unrouted = unrouted
    front.plain_http2 = listener.plain_http2
    front.is_timed = config.metrics.times
    front.on_bad_request, front.on_limited = learning.hook("scan"), learning.hook("limited")
    return front


def _global_error_pages(compilation: Compilation) -> tuple[Middleware, ...]:
    """Return the error pages for requests that no rule matches; nothing if the config has none."""
    if not compilation.config.error_pages:
        return ()
    from npserver.web.middleware.error_pages.compile import GLOBAL_PAGES, ErrorPages

    return (ErrorPages(GLOBAL_PAGES.of(compilation)),)


def rule_path(index: int) -> Path:
    """Return the path of a rule in the config; the default rule of a listener (-1) stands for `root`."""
    return ("dispatch", index) if index >= 0 else ("root",)


def _compile_rule(compilation: Compilation, index: int, rule: Rule, kind_of: KindOf) -> Compiled:
    """Compile a rule; its entries in a router are one per host."""
    assert isinstance(rule, HttpRule)  # `program.assignment` lets no other rules come here
    report = compilation.report
    path = rule_path(index)
    pattern = _pattern(report, path, rule)
    hosts = _hosts(report, path, rule)
    if rule.name is not None:
        _check_name(compilation, path, rule.name)
    route = compile_route(compilation, index, rule, pattern or Pattern("", True), kind_of, hosts)
    conditions = path_regex = None
    has_conditions = pattern is not None and bool(pattern.rest)
    if rule.path_regex is not None or rule.from_ or rule.not_ or rule.match != Match():
        from npserver.web.matching.compile import compile_conditions, compile_regex

        has_conditions = True
        conditions = compile_conditions(report, path, rule)
        path_regex = compile_regex(report, path, rule)
        if path_regex is not None and pattern is not None and not pattern.is_prefix:
            report.error((*path, "path_regex"), "'path_regex' beside an exact 'path': leave out one of them")
    if pattern is None or route is None:
        return Compiled([])
    patterns = [pattern]
    if (paths := getattr(route.handler, "paths", None)) is not None:  # a handler of certain paths
        has_others = getattr(route.handler, "has_others", False)
        patterns = [Pattern(one, False) for one in paths] + ([pattern] if has_others else [])
    return Compiled([(host, one, route) for host in hosts for one in patterns], has_conditions, conditions, path_regex)


def matching_router(
    compilation: Compilation, listener: Listener, indices: Iterable[int], unrouted: Route
) -> MatchingRouter:
    """Make the router of a listener where rules have conditions."""
    from npserver.web.matching.compile import check_listener
    from npserver.web.matching.router import MatchingRouter
    from npserver.web.matching.router import Rule as Tried

    made = RULES.of(compilation)
    tried = []
    for index in indices:
        compiled = made[index]
        if compiled.conditions is not None:
            check_listener(compilation.report, rule_path(index), compiled.conditions, listener)
        for host, pattern, route in compiled.entries:
            slash = next((redirect for _, _, redirect in slash_redirects([(host, pattern, route)])), route)
            tried.append(Tried(host, pattern, route, slash, compiled.conditions, compiled.path_regex))
    return MatchingRouter(tried, "https" if listener.address.is_tls else "http", unrouted)


def _check_name(compilation: Compilation, path: Path, name: str) -> None:
    if not name or CONTROL.search(name):
        compilation.report.error((*path, "name"), f"{clip(name)} is not a name: write some visible characters")
    first = _NAMES.of(compilation).setdefault(name, path)
    if first != path:
        where = compilation.document.place(first)
        compilation.report.error((*path, "name"), f"the rule at {where} has the name {clip(name)} already")


def _pattern(report: Report, path: Path, rule: HttpRule) -> Pattern | None:
    try:
        return parse_pattern(rule.path)
    except ValueError as error:
        report.error((*path, "path"), str(error))
        return None


def _hosts(report: Report, path: Path, rule: HttpRule) -> list[str]:
    if rule.host is None:
        return [""]
    found: list[str] = []
    for where, text in placed((*path, "host"), rule.host):
        try:
            found.append(parse_host(text))
        except ValueError as error:
            report.error(where, str(error))
            continue
        if hint := hint_at_host("host", text, ignores_port=True):
            report.warn(where, hint)
    return list(dict.fromkeys(found))


def _hint_at_exact_paths(report: Report, index: int, entries: list[Entry], router: Router[Route]) -> None:
    """Warn of `/api/` without a star, in a rule that serves paths, unless another rule has `/api/**`."""
    for host, pattern, _ in entries:
        path = pattern.path
        if pattern.is_prefix or not path.endswith("/"):
            continue
        below = router.find(host.replace("*", "\0"), f"{path}\0")  # a name and a path that no other pattern has
        if below is None or below.prefix != path[:-1]:
            report.warn(
                (*rule_path(index), "path"),
                f'\'path\': "{path}" is this path alone, without those below it: for all of them, write "{path}**"',
            )


def _warn_unused(compilation: Compilation, unused: int, first: int) -> None:
    """Warn once of a rule that can never match."""
    warned, made = _UNUSED.of(compilation), RULES.of(compilation)
    if unused not in warned:
        warned.add(unused)
        where = compilation.document.place(rule_path(first))
        why = ""
        if made[first].conditions is not None or made[first].path_regex is not None:
            why = ", and conditions that hold wherever those of this rule do"
        elif made[unused].conditions is not None or made[unused].path_regex is not None:
            why = " and no conditions: put this rule before it"
        compilation.report.warn(
            rule_path(unused), f"this rule is never used: the rule at {where} has the same host and path{why}"
        )


def _check_window(report: Report, limits: Limits) -> None:
    if not MIN_WINDOW_BYTES <= limits.http2_window <= MAX_WINDOW_BYTES:
        report.error(("limits", "http2_window"), f"expected a size from 16k to 511m, got {limits.http2_window} bytes")
