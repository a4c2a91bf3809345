"""Compiles the front of a listener that speaks HTTP: from rules to routes, from routes to a router."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from npserver.host_hints import hint_at_host
from npserver.runtime.compilation import Compilation, PerCompilation
from npserver.tls.acme.answers import ANSWERS
from npserver.web.challenges import ChallengeRouter
from npserver.web.compile_route import compile_route
from npserver.web.config import HttpRule, Rule
from npserver.web.exchange import Route, make_route
from npserver.web.handlers.kinds import HandlerKind
from npserver.web.routing import Pattern, Router, parse_host, parse_pattern
from npserver.web.server.front import HttpFront, Unrouted
from npserver.web.slash_redirect import slash_redirects
from npserver.web.trusted_proxies import TRUSTED_PROXIES

if TYPE_CHECKING:
    from npserver.config.report import Path, Report
    from npserver.listen.listener import Listener
    from npserver.web.config import Limits

MIN_WINDOW_BYTES = 16 << 10  # a DATA frame's
MAX_WINDOW_BYTES = 511 << 20  # four times that is what RFC 9113 §6.9.1 allows

KindOf = Callable[[Rule], HandlerKind[Any]]
Entry = tuple[str, Pattern, Route]  # of a router: host, path, and where both lead

_ENTRIES: PerCompilation[dict[int, list[Entry]]] = PerCompilation(lambda _: {})  # by a rule's index in `dispatch`
_UNUSED: PerCompilation[set[int]] = PerCompilation(lambda _: set())  # rules already warned of


def compile_http_front(
    compilation: Compilation, listener: Listener, rules: list[tuple[int, Rule]], kind_of: KindOf
) -> HttpFront:
    """Make the front of a listener. Rules with errors are left out; the report has the errors.

    `kind_of` finds the kind of a rule: `program.kinds` knows those that are not in `web.handlers.kinds` too.
    """
    report, config = compilation.report, compilation.config
    made = _ENTRIES.of(compilation)
    entries: list[Entry] = []
    places: dict[int, int] = {}  # rule's index by its route's identity
    for index, rule in rules:
        if index not in made or index < 0:
            made[index] = _compile_entries(compilation, index, rule, kind_of)
        entries += made[index]
        places.update({id(route): index for _, _, route in made[index]})
    router: Router[Route] = Router([*entries, *slash_redirects(entries)])
    for unused, first in router.duplicates:
        if id(unused) in places:  # not a redirect that a rule stands in for
            _warn_unused(compilation, places[id(unused)], places[id(first)])
    for index, rule in rules:
        if kind_of(rule).has_paths_below:
            _hint_at_exact_paths(report, index, made[index], router)
    if listener.server_tls is not None and listener.server_tls.offers_http2:
        from npserver.web.server.http2 import connection  # noqa: F401 - before the fork, and before the first client
    _check_window(report, config.limits)
    name = config.server_header
    unrouted = make_route("unrouted", Unrouted(), config.limits.max_body_size)
    return HttpFront(
        ChallengeRouter(router, unrouted, ANSWERS.of(compilation.context)),
        compilation.context,
        config.limits,
        config.timeouts,
        server_header=name if isinstance(name, str) else "npserver" if name else "",
        trusted=TRUSTED_PROXIES.of(compilation),
    )


def rule_path(index: int) -> Path:
    """Return the path of a rule in the config; the default rule of a listener (-1) stands for `root`."""
    return ("dispatch", index) if index >= 0 else ("root",)


def _compile_entries(compilation: Compilation, index: int, rule: Rule, kind_of: KindOf) -> list[Entry]:
    """Return a rule's entries in a router: one per host."""
    assert isinstance(rule, HttpRule)  # `program.assignment` lets no other rules come here
    report = compilation.report
    path = rule_path(index)
    pattern = _pattern(report, path, rule)
    hosts = _hosts(report, path, rule)
    route = compile_route(compilation, index, rule, pattern or Pattern("", True), kind_of)
    if pattern is None or route is None:
        return []
    return [(host, pattern, route) for host in hosts]


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
    for place, text in enumerate([rule.host] if isinstance(rule.host, str) else rule.host):
        where = (*path, "host", place) if isinstance(rule.host, list) else (*path, "host")
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
    warned = _UNUSED.of(compilation)
    if unused not in warned:
        warned.add(unused)
        where = compilation.document.place(rule_path(first))
        compilation.report.warn(
            rule_path(unused), f"this rule is never used: the rule at {where} has the same host and path"
        )


def _check_window(report: Report, limits: Limits) -> None:
    if not MIN_WINDOW_BYTES <= limits.http2_window <= MAX_WINDOW_BYTES:
        report.error(("limits", "http2_window"), f"expected a size from 16k to 511m, got {limits.http2_window} bytes")
