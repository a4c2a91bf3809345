"""Compiles redirect rules into handlers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.errors import clip
from npserver.regex import regex
from npserver.web.checks import CONTROL, rule_key
from npserver.web.escaping import for_url
from npserver.web.handlers.redirect.config import RedirectRule
from npserver.web.handlers.redirect.handler import MovedHandler, RedirectHandler
from npserver.web.maps.compile import MAPS
from npserver.web.routing import parse_pattern
from npserver.web.variables import compile_template, is_constant, variable_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from npserver.config.report import Path
    from npserver.runtime.compilation import Compilation
    from npserver.web.exchange import Handler

_WHOLE = regex(r"[A-Za-z][A-Za-z0-9+.-]*:|[/?#$]")  # how a URL begins that is not relative to the path of the request
_OWN_PATH = regex(r"/(?![/\\])|\$\{?(?:path|request_uri)\b")
_STATUSES = {"301": 301, "302": 302, "303": 303, "307": 307, "308": 308}


def compile_redirect(compilation: Compilation, path: Path, rule: RedirectRule) -> Handler | None:
    """Make the handler of a redirect rule; None if it has errors, which stand in the report."""
    report = compilation.report
    others = None
    if rule.to is not None:
        others = _redirect(compilation, path, rule.to, rule.status, "'to'", (*path, "to"))
        if rule.moved is None or others is None:
            return others
    if rule.moved is None:
        report.error(
            path, "a redirect needs 'to', the URL to redirect to, or 'moved', a table of old paths and new URLs"
        )
        return None
    if rule.to is None and (rule.path, rule.path_regex) != ("/**", None):
        key = "path" if rule.path_regex is None else "path_regex"
        report.error(
            (*path, key), f"{key!r}: 'moved' names the paths; leave {key!r} out, or write 'to' for other paths"
        )
    by_path = _compile_table(compilation, path, rule)
    return MovedHandler(by_path, others) if by_path or others is not None else None


def _redirect(
    compilation: Compilation, path: Path, to: str, status: int, where: str, place: Path
) -> RedirectHandler | None:
    """Make the redirect to one URL. `where`, `place`: of the URL, for messages."""
    report = compilation.report
    try:
        template = compile_template(to, MAPS.of(compilation), for_url)
    except ValueError as error:
        report.error(place, f"{where}: {error}")
        return None
    if not to or CONTROL.search(to):
        report.error(place, f"{where}: {clip(to)} is not a URL")
        return None
    if not _WHOLE.match(to):
        report.warn(
            place,
            f"{where}: {clip(to)} is relative to the path of the request; write {clip('https://' + to)}, or "
            f"{clip('/' + to)} for a page of this site",
        )
    return RedirectHandler(
        template,
        status,
        is_local=_OWN_PATH.match(to) is not None,
        needs_host=not variable_names(to).isdisjoint({"host", "authority"}),
        key=rule_key(path, str(place[len(path)])),
    )


def _compile_table(compilation: Compilation, path: Path, rule: RedirectRule) -> dict[str, RedirectHandler]:
    """Make the redirects of a table, by canonical path."""
    from npserver.web.handlers.redirect.table import MAX_ENTRIES, read_table

    report, place = compilation.report, (*path, "moved")
    found: dict[str, RedirectHandler] = {}
    leads_to: dict[str, str] = {}  # another path of this table, as far as that is certain
    places: dict[str, tuple[str, Path]] = {}
    assert rule.moved is not None
    seen = len(report.problems)
    for old, new, status, where, line in read_table(report, place, rule.moved):
        try:
            pattern = parse_pattern(old)
        except ValueError as error:
            report.error(line, f"{where}: {error}")
            continue
        if pattern.is_prefix:
            report.error(line, f"{where}: {clip(old)}: a path of 'moved' has no star; write a rule for those below it")
        elif pattern.path in found:
            report.error(line, f"{where}: {clip(old)} is there twice; remove one")
        elif new == old or new == pattern.path:
            report.error(line, f"{where}: {clip(old)} leads to itself")
        elif status and status not in _STATUSES:
            report.error(line, f"{where}: {clip(status)} is not a status of redirects; write {', '.join(_STATUSES)}")
        elif len(found) == MAX_ENTRIES:
            report.error(line, f"{where}: more than {MAX_ENTRIES} entries")
            break
        else:
            redirect = _redirect(compilation, path, new, _STATUSES.get(status, rule.status), where, line)
            if redirect is not None:
                found[pattern.path] = redirect
                places[pattern.path] = where, line
                if (own := _own_path(new)) is not None:
                    leads_to[pattern.path] = own
    for circle in _circles(leads_to):
        where, line = places[circle[0]]
        report.error(line, f"{where}: {clip(circle[0])} leads back to itself: {clip(' > '.join([*circle, circle[0]]))}")
    if not found and len(report.problems) == seen:
        report.warn(place, "'moved' is empty: nothing is redirected by it")
    return found


def _own_path(url: str) -> str | None:
    """Return the canonical path of a URL that is a path of this site; None if it is another, or not known yet."""
    if not _OWN_PATH.match(url) or not is_constant(url):
        return None
    try:
        pattern = parse_pattern(url.partition("#")[0].partition("?")[0])
    except ValueError:
        return None
    return None if pattern.is_prefix else pattern.path


def _circles(leads_to: dict[str, str]) -> Iterator[list[str]]:
    """Yield each circle of paths of which each leads to the next."""
    seen: set[str] = set()
    for start in leads_to:
        way: dict[str, None] = {}
        at: str | None = start
        while at is not None and at not in seen:
            seen.add(at)
            way[at] = None
            at = leads_to.get(at)
        if at is not None and at in way:
            walked = list(way)
            yield walked[walked.index(at) :]
