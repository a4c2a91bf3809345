"""The router with conditions gives each request to the rule that a plain search through all rules would find."""

from __future__ import annotations

from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from npserver.http.request_parser import HeadLimits, parse_head
from npserver.web.exchange import Handler, Route, make_route
from npserver.web.matching.conditions import Conditions, Terms
from npserver.web.matching.router import MatchingRouter, Rule
from npserver.web.routing import parse_pattern

PATHS = st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=4)


@st.composite
def patterns(draw: st.DrawFn, path: list[str]) -> str:
    """Return a pattern that is likely to match: some segments are stars, the end is left open, or one is another."""
    kept = path[: draw(st.integers(0, len(path)))] if draw(st.booleans()) else path
    made = [draw(st.sampled_from([one, one, "*", "*", "other"])) for one in kept]
    return "".join(f"/{one}" for one in made) + ("/**" if kept is not path or draw(st.booleans()) else "")


METHODS = ["GET", "PUT", "POST"]
CONDITIONS = st.none() | st.sets(st.sampled_from(METHODS), min_size=1).map(
    lambda methods: Conditions(Terms(frozenset(methods)))
)
HOSTS = st.sampled_from(["", "", "", "h.x", "*.x"])


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[tuple[str, str, Conditions | None]], str]:
    """Return rules, and the path of a request."""
    path = draw(PATHS)
    rules = draw(st.lists(st.tuples(HOSTS, patterns(path), CONDITIONS), min_size=2, max_size=8))
    return rules, "/" + "/".join(path)


def segments_of(text: str) -> list[str]:
    return [one for one in text.split("/") if one]


def matches(pattern: str, path: str) -> bool:
    """Compare a pattern by its definition."""
    is_open = pattern.endswith(("/**", "/*"))
    wanted, found = segments_of(pattern)[: -1 if is_open else None], segments_of(path)
    if is_open:
        found = found[: len(wanted)]
    return len(found) == len(wanted) and all(there in ("*", here) for here, there in zip(found, wanted, strict=True))


def rank(host: str, pattern: str) -> tuple[object, ...]:
    """Return the place of a rule among all that match: host first, then segment by segment from the left."""
    is_open = pattern.endswith(("/**", "/*"))
    wanted = segments_of(pattern)[: -1 if is_open else None]
    kinds = [1 if one == "*" else 0 for one in wanted]
    return {"h.x": 0, "*.x": 1, "": 2}[host], (*kinds, 2 if is_open else -1)


@given(cases(), st.sampled_from(METHODS))
def test_the_router_finds_what_a_search_finds(
    case: tuple[list[tuple[str, str, Conditions | None]], str], method: str
) -> None:
    rules, path = case
    handler = cast("Handler", object())
    routes = [make_route(str(number), handler, 1) for number in range(len(rules))]
    unrouted = make_route("none", handler, 1)
    tried = [
        Rule(host, parse_pattern(pattern), route, route, conditions)
        for (host, pattern, conditions), route in zip(rules, routes, strict=True)
    ]
    router = MatchingRouter(tried, "http", unrouted)
    request = parse_head(f"{method} {path} HTTP/1.1\r\nHost: h.x\r\n\r\n".encode(), HeadLimits(8192, 100, 65536))
    found = router.find("h.x", request.path)
    while found is not None and found.by_head is not None:
        found = found.by_head(request)
    candidates = sorted(
        (rank(host, pattern), number)
        for number, (host, pattern, conditions) in enumerate(rules)
        if matches(pattern, path) and (conditions is None or method in conditions.wanted.methods)
    )
    expected = routes[candidates[0][1]].name if candidates else "none"
    assert (found or unrouted).name == expected
    hidden: set[Route | int] = {id(unused) for unused, _ in router.duplicates}
    assert id(found) not in hidden
