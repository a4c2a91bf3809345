"""Compiles `match`, `from`, `not` and `path_regex` of a rule, and checks what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from npserver.config.networks import compile_networks
from npserver.errors import clip
from npserver.guess import get_close_matches
from npserver.http.field_names import TOKEN, fold
from npserver.http.request_parser import METHODS
from npserver.web.checks import CONTROL
from npserver.web.matching.conditions import Conditions, Terms
from npserver.web.matching.config import NotMatch
from npserver.web.matching.path_regex import compile_path_regex
from npserver.web.matching.values import Wanted, make_wanted

if TYPE_CHECKING:
    import re

    from npserver.config.report import Path, Report
    from npserver.listen.listener import Listener
    from npserver.web.config import HttpRule
    from npserver.web.matching.config import Match
    from npserver.web.matching.config import Wanted as WantedValue

_REFUSED = ("CONNECT", "TRACE")  # methods that `http.request_parser` answers with 405
#: Fields that have a key of their own, or that say nothing of the request itself.
_OTHER_KEYS = {
    "host": "write 'host' in the rule",
    "cookie": "write 'cookie' in 'match'",
    "upgrade": 'write "protocol": "websocket"',
    "connection": "it is about the connection, and HTTP/2 has none",
    "transfer-encoding": "it is about the connection, and HTTP/2 has none",
    "x-forwarded-for": "write 'from', which heeds 'trusted_proxies'",
    "x-real-ip": "write 'from', which heeds 'trusted_proxies'",
}


def compile_conditions(report: Report, path: Path, rule: HttpRule) -> Conditions | None:
    """Make the conditions of a rule; None if it has none but `path_regex`. Errors stand in the report."""
    wanted = _terms(report, (*path, "match"), rule.match)
    if rule.from_:
        networks = compile_networks(report, (*path, "from"), rule.from_)
        wanted = replace(wanted, networks=networks)
    many = isinstance(rule.not_, list)
    unwanted = []
    for at, one in enumerate(rule.not_ if isinstance(rule.not_, list) else [rule.not_]):
        place: Path = (*path, "not", at) if many else (*path, "not")
        before = len(report.problems)
        terms = _terms(report, place, one)
        if not terms.is_empty:
            unwanted.append(terms)
        elif len(report.problems) == before:
            report.error(place, "'not' names no condition: it would exclude every request")
    conditions = Conditions(wanted, tuple(unwanted))
    if conditions.contradict:
        report.error((*path, "not"), "this rule is never used: 'not' excludes all that 'match' and 'from' ask for")
    return None if conditions == Conditions() else conditions


def compile_regex(report: Report, path: Path, rule: HttpRule) -> re.Pattern[str] | None:
    """Compile `path_regex`; None if there is none, or with an error in the report."""
    if rule.path_regex is None:
        return None
    try:
        return compile_path_regex(rule.path_regex)
    except ValueError as error:
        report.error((*path, "path_regex"), str(error))
        return None


def check_listener(report: Report, path: Path, conditions: Conditions, listener: Listener) -> None:
    """Warn of a rule that no request of a listener can have, by its protocols."""
    protocols = conditions.wanted.protocols
    impossible = {"http" if listener.address.is_tls else "https"}
    if not listener.offers_http2:
        impossible.add("http/2")
    if not listener.http3:
        impossible.add("http/3")
    if listener.key and protocols and protocols <= impossible:
        names = ", ".join(sorted(protocols))
        report.warn(
            (*path, "match", "protocol"),
            f"this rule is never used on {clip(str(listener.address))}, which does not serve {names}",
        )


def _terms(report: Report, path: Path, match: Match) -> Terms:
    methods = [match.method] if isinstance(match.method, str) else match.method
    protocols = [match.protocol] if isinstance(match.protocol, str) else match.protocol
    for method in methods:
        _check_method(report, (*path, "method"), method)
    if protocols and set(protocols) == {"websocket"} and methods and "GET" not in methods:
        report.error((*path, "method"), "a WebSocket begins with GET: this rule is never used")
    return Terms(
        frozenset(methods),
        _wanted(report, (*path, "header"), match.header, is_field=True),
        _wanted(report, (*path, "query"), match.query),
        _wanted(report, (*path, "cookie"), match.cookie),
        frozenset(protocols),
        compile_networks(report, (*path, "from"), match.from_) if isinstance(match, NotMatch) else None,
    )


def _check_method(report: Report, path: Path, method: str) -> None:
    if method in _REFUSED:
        report.error(path, f"method {method} is not supported: such requests are answered with 405")
    elif method != method.upper():
        report.error(path, f"methods are in upper case: write {clip(method.upper())}")
    elif not TOKEN.fullmatch(method):
        report.error(path, f"{clip(method)} is not a valid method")
    elif method.encode() not in METHODS and (close := get_close_matches(method, METHODS.values(), 1)):
        report.warn(path, f"{clip(method)} is not a usual method, did you mean {close[0]!r}?")


def _wanted(
    report: Report, path: Path, values: dict[str, WantedValue], *, is_field: bool = False
) -> tuple[Wanted, ...]:
    found: dict[str, Wanted] = {}
    for name, value in values.items():
        key = name
        if is_field:
            if not TOKEN.fullmatch(name):
                report.error((*path, name), f"{clip(name)} is not a valid header name")
                continue
            if remedy := _OTHER_KEYS.get(name.lower()):
                report.error((*path, name), f"header {clip(name)}: {remedy}")
                continue
            key = fold(name.lower().encode()).decode("ascii")
        if value == []:
            report.error((*path, name), f"{clip(name)}: no value; true for any, false for a request without it")
        elif key in found:
            report.error((*path, name), f"header {clip(name)} is named twice, applications take both for one")
        elif why := _never_sent(name, value, path[-1]):
            report.error((*path, name), f"{clip(name)}: this never holds: {why}")
        else:
            found[key] = make_wanted(key, value)
    return tuple(found.values())


def _never_sent(name: str, value: WantedValue, kind: str | int) -> str:
    """Return why no request has a header field or cookie of this name with one of these values; "" if one may."""
    if kind == "query":
        return ""  # decoded, it may hold anything
    if kind == "cookie" and (not name or name != name.strip(" \t") or ";" in name or "=" in name):
        return "a cookie has a name without spaces around it, `;` and `=`"
    for text in [] if isinstance(value, bool) else [value] if isinstance(value, str) else value:
        if text != text.strip(" \t") or CONTROL.search(text):
            return f"{clip(text)} has spaces around it, or a control character"
        if kind == "cookie" and ";" in text:
            return f"{clip(text)} has a `;`, which ends a cookie"
        if kind == "cookie" and len(text) > 1 and text[0] == text[-1] == '"':
            return f"{clip(text)} is compared without quotes: write {clip(text[1:-1])}"
    return ""
