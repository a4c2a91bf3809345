"""nginx's `server` blocks as rules. Called by `importing.nginx`.

nginx looks for the longest prefix first, then for the first regular expression, which wins unless the prefix has
`^~`. Here the longest path wins, and of its rules the first that fits: so the rules of regular expressions stand before
those of each prefix.

A location stands among the rules of a shorter path, with a `path_regex`, where that says more exactly what nginx does:
a file to fall back to that lies outside of its prefix, or a guard for `/admin` that holds for `/administrator` too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from npserver.errors import ConfigError, Problem
from npserver.importing.conditions import ALL_PATHS, Conditional, conditionals, redirect_url
from npserver.importing.directives import Directive
from npserver.importing.draft import MAX_RULES, Draft, DraftRule
from npserver.importing.expressions import files_of, literal_start, with_encoded_slashes
from npserver.importing.files import OutsidePrefix
from npserver.importing.handlers import handler_keys, return_keys
from npserver.importing.locations import Location, Locations, locations_of, mark
from npserver.importing.place import Place
from npserver.importing.scope import Scope
from npserver.importing.texts import NoCounterpart, text
from npserver.importing.upstreams import Upstreams

CLOSED = ("allow", "deny", "auth_basic", "auth_request", "internal")
_GUARDS = (*CLOSED, "return")


class Server(Struct):
    """A `server` block, and where its rules apply."""

    directive: Directive
    scope: Scope
    listeners: list[str] | None  # None: all of them
    names: list[str] | None  # None: any
    guards: list[Conditional] = field(default_factory=list)  # conditions of the server, before all its locations


def names_of(scope: Scope, draft: Draft) -> list[str]:
    """Return the names of a server as our `host` has them."""
    found: list[str] = []
    for one in scope.own("server_name"):
        for name in one.args:
            if name in ("_", "", '""', "localhost.invalid"):
                continue
            if re.fullmatch(r"(\*\.)?[\w-]+(\.[\w-]+)*|\d+(\.\d+){3}", name):
                found.append(name.lower())
            elif re.fullmatch(r"\.[\w-]+(\.[\w-]+)*", name):
                found += [name[1:].lower(), f"*{name.lower()}"]
            else:
                draft.comments.append(draft.lose(one, "names are texts, or begin with '*.'"))
    return list(dict.fromkeys(found))


def add_rules(server: Server, draft: Draft, upstreams: Upstreams) -> None:
    """Add the rules of a server to the draft."""
    start = len(draft.rules)
    for condition in list(server.directive.inside("if")):
        _add_host_condition(condition, server, draft)
    if server.names != [] and server.listeners != []:
        comments: list[str] = []
        server.guards = list(conditionals(server.scope, comments))
        if not _add_redirects(server, draft):
            for rule in _Rules(server, draft, upstreams).all():
                _append(draft, rule, server.directive)
    draft.comment_on(start, draft.left_over([one for one in server.scope.blocks[-1] if one.name != "location"]))


class _Rules:
    """Makes the rules of one server."""

    def __init__(self, server: Server, draft: Draft, upstreams: Upstreams) -> None:
        self.server, self.draft, self.upstreams = server, draft, upstreams
        self.site = Locations()
        self.floating: set[str] = set()  # prefixes whose rules stand among those of a shorter path
        self.floats: dict[str, list[str]] = {}  # by that path
        self.guarded: dict[str, list[str]] = {}  # prefixes with guards, by the prefix around them
        self.passes_on = False
        self.count = 0

    def all(self) -> list[DraftRule]:
        """Return the rules, those of shorter paths first."""
        server = self.server
        if server.scope.here("return"):
            mark(list(server.directive.inside("location")))
            return self._rules(Place(server.scope), {}, [])
        self.site = site = locations_of(server.scope, self.draft)
        self.passes_on = site.has_applications
        prefixes = {"", *site.prefixes, *self._more_prefixes()}
        self.floating = {prefix for prefix, one in site.prefixes.items() if prefix and _is_wide(one)}
        while (found := self._by_prefix(prefixes)) is None:
            pass
        for path, one in site.exact.items():
            place = Place(one.scope, "", path, is_exact=True, site=site)
            found += self._rules(place, {"path": path}, one.leaves)
        return found

    def _by_prefix(self, prefixes: set[str]) -> list[DraftRule] | None:
        """Return the rules of all prefixes; None if more of them than before have to stand among shorter ones."""
        found: list[DraftRule] = []
        lost, outside = len(self.draft.losses), set()
        self.floats, self.guarded, self.count = {}, {}, 0
        for path, one in self.site.prefixes.items():
            if path and self.passes_on and any(one.has(name) for name in CLOSED):
                self.guarded.setdefault(self._parent(path.rpartition("/")[0]), []).append(path)
        for path in self.floating:
            self.floats.setdefault(self._parent(path), []).append(path)
        for prefix in sorted(prefixes - self.floating, key=lambda path: (len(path), path)):
            try:
                found += self._below(prefix)
            except OutsidePrefix:
                outside.add(prefix)
        if outside:
            del self.draft.losses[lost:]
            self.floating |= {one for prefix in outside for one in _parents(prefix) if one and one in prefixes}
            return None
        return found

    def _more_prefixes(self) -> Iterable[str]:
        """Yield prefixes at which a regular expression begins to mean something else."""
        for one in self.site.regex:
            yield from one.excepted
            if (files := _alias_of(one)) is not None and files[0]:
                yield files[0]

    def _below(self, prefix: str) -> list[DraftRule]:
        """Return the rules for a path and what is below it, in the order in which they are tried."""
        at = {"path": f"{prefix}/**"} if prefix else {}
        own, site = self._around(prefix), self.site
        floats = sorted(self.floats.get(prefix, ()), key=lambda path: (-len(path), path))
        found: list[DraftRule] = []
        found += self._encoded(prefix, at)
        first = [path for path in floats if path not in site.prefixes or not any(site.expressions_for(path))]
        for path in first:
            found += self._floating(path, prefix, at)
        for path in floats:
            for one in site.regex:
                if path in site.prefixes and one.outer is site.prefixes[path]:
                    found += self._nested(one, path, prefix, at)
        for one in site.expressions_for(own.pattern if own else ""):
            found += self._regex(one, prefix, at)
        for path in floats:
            if path not in first:
                found += self._floating(path, prefix, at)
        if own is not None:
            place = Place(own.scope, prefix, own.written, is_final=own.is_final, site=site)
            return found + self._rules(place, at, own.leaves)
        return found + self._rules(Place(self.server.scope, prefix, "/", site=site), at, [])

    def _encoded(self, prefix: str, at: dict[str, Any]) -> list[DraftRule]:
        """Return rules for guards below a prefix: nginx decodes `%2F` before, npserver leaves it to applications."""
        found = []
        for path in self.guarded.get(prefix, ()):
            segments = path[1:].split("/") + ([""] if self.site.prefixes[path].written.endswith("/") else [])
            ways = [
                "/".join(["", *segments[:at_]]) + "%2F" + "(?:/|%2F)".join(segments[at_:])
                for at_ in range(1, len(segments))
            ]
            if ways:
                expression = f"{ways[0]}.*" if len(ways) == 1 else f"(?:{'|'.join(ways)}).*"
                keys = {**at, "path_regex": expression, "handler": "respond", "status": 403}
                found.append(self._rule(DraftRule(keys, [f"a slash that is encoded: guarded as {path[:60]} is"])))
        return found

    def _around(self, prefix: str) -> Location | None:
        """Return the location of a prefix, or the nearest around it."""
        return next((self.site.prefixes[one] for one in _parents(prefix) if one in self.site.prefixes), None)

    def _parent(self, path: str) -> str:
        """Return the prefix among whose rules those of another one stand."""
        around = (one for one in _parents(path) if one in self.site.prefixes and one not in self.floating)
        return next(around, "")

    def _floating(self, path: str, prefix: str, at: dict[str, Any]) -> list[DraftRule]:
        """Return the rules of a location that stands among the rules of a shorter prefix."""
        one = self._around(path)
        if one is None:
            place = Place(self.server.scope, prefix, "/", site=self.site)
            return self._rules(place, {**at, "path_regex": f"{_escape(path)}(?:/.*)?"}, [])
        behind = ".*" if not one.written.endswith("/") and _is_wide(one) else "(?:/.*)?"
        place = Place(one.scope, prefix, one.written, is_final=one.is_final, site=self.site)
        return self._rules(place, {**at, "path_regex": _escape(path) + behind}, one.leaves)

    def _nested(self, one: Location, path: str, prefix: str, at: dict[str, Any]) -> list[DraftRule]:
        """Return the rules of an expression inside a location that stands among those of a shorter prefix."""
        start = literal_start(one.pattern)
        if one.pattern.startswith(".*/"):
            expression = _escape(path) + one.pattern
        elif one.pattern.startswith(".*"):
            expression = _escape(self.site.prefixes[path].written) + one.pattern
        elif start.startswith(path):
            expression = one.pattern
        elif path.startswith(start) and start:
            self.draft.comments.append(self.draft.lose(one.directive, f"a regular expression inside {path[:60]}"))
            return []
        else:
            return []
        place = Place(one.scope, prefix, path, regex=one.written, site=self.site)
        return self._rules(place, {**at, "path_regex": expression}, one.leaves)

    def _regex(self, one: Location, prefix: str, at: dict[str, Any]) -> list[DraftRule]:
        """Return the rules of a regular expression for the paths below a prefix."""
        expression = one.pattern
        if any(prefix == path or prefix.startswith(f"{path}/") for path in one.excepted):
            expression = one.inside
        if self.passes_on and any(one.has(name) for name in CLOSED):
            expression = with_encoded_slashes(expression)
        start = literal_start(expression)
        if not expression or (start and not prefix.startswith(start) and not start.startswith(prefix)):
            return []
        if (files := _alias_of(one)) is not None and not prefix.startswith(files[0]):
            return []
        found: list[DraftRule] = []
        place = Place(one.scope, prefix, prefix or "/", regex=one.written, site=self.site)
        for inner in [inner for inner in self.site.regex if inner.outer is one]:
            if (both := _both(expression, inner.pattern)) is None:
                self.draft.comments.append(self.draft.lose(inner.directive, "a regular expression inside another one"))
            else:
                inside = Place(inner.scope, prefix, prefix or "/", regex=inner.written, site=self.site)
                found += self._rules(inside, {**at, "path_regex": both}, inner.leaves)
        return found + self._rules(place, {**at, "path_regex": expression}, one.leaves)

    def _rules(self, place: Place, where: dict[str, Any], own: list[Directive]) -> list[DraftRule]:
        """Return the rule of a place, after those for its conditions."""
        comments: list[str] = []
        found = []
        self.count += 1
        if self.count > MAX_RULES:
            raise _too_many(self.server.directive)
        try:
            blocks = list(conditionals(place.scope, comments)) if len(place.scope.blocks) > 2 else []
            for block in [*self.server.guards, *blocks]:
                if "path_regex" in where and "path_regex" in block.keys:
                    comments.append(self.draft.lose(block.directive, "two regular expressions for one path"))
                    continue
                keys = self._handler(replace(place, scope=block.scope), block.directive.block or [])
                keys.keys = {**where, **block.keys, **keys.keys}
                found.append(self._rule(keys))
            rule = self._handler(place, own)
        except NoCounterpart as error:
            if isinstance(error, OutsidePrefix) and place.prefix:
                raise
            rule = self._not_imported(str(error), own)
        rule.comments = comments + rule.comments
        rule.keys = where | rule.keys
        return [*found, self._rule(rule)]

    def _handler(self, place: Place, own: list[Directive]) -> DraftRule:
        comments: list[str] = []
        try:
            keys = handler_keys(place, self.draft, self.upstreams, comments)
        except OutsidePrefix as error:
            if place.prefix:
                raise
            return self._not_imported(str(error), own)
        except NoCounterpart as error:
            return self._not_imported(str(error), own)
        return DraftRule(keys, comments + self.draft.left_over(own))

    def _not_imported(self, why: str, own: list[Directive]) -> DraftRule:
        if (loss := f"answered with 501: {why}") not in self.draft.losses:
            self.draft.losses.append(loss)
        keys = {"handler": "respond", "status": 501, "body": "not imported\n"}
        return DraftRule(keys, [f"not imported: {why}", *self.draft.left_over(own)])

    def _rule(self, rule: DraftRule) -> DraftRule:
        rule.keys = _where(self.server) | rule.keys
        return rule


def _is_wide(one: Location) -> bool:
    """Whether a location without a slash is a file, or refuses: `/admin` holds for `/administrator` too."""
    if one.written.endswith("/") or one.has("stub_status"):
        return False
    return "." in one.written.rpartition("/")[2][1:] or any(one.has(name) for name in _GUARDS)


def _alias_of(one: Location) -> tuple[str, str] | None:
    """Return prefix and directory of a regular expression whose alias has its groups."""
    alias = one.scope.here("alias")
    return files_of(one.written, alias[0].args[0]) if alias and "$" in alias[0].args[0] else None


def _both(outer: str, inner: str) -> str | None:
    """Return an expression for the paths that two describe; None if that cannot be said simply."""
    if inner.startswith(".*") and outer.endswith(".*") and "|" not in re.sub(r"\([^()]*\)", "", outer):
        return outer + inner[2:]
    return None


def _parents(path: str) -> Iterable[str]:
    """Yield a prefix and those around it, the longest first."""
    while path:
        yield path
        path = path.rpartition("/")[0]
    yield ""


def _escape(path: str) -> str:
    return re.escape(path).replace(r"\-", "-")


def _where(server: Server) -> dict[str, Any]:
    at: dict[str, Any] = {}
    if server.listeners is not None:
        at["listener"] = server.listeners[0] if len(server.listeners) == 1 else server.listeners
    if server.names is not None:
        at["host"] = server.names[0] if len(server.names) == 1 else server.names
    return at


def _append(draft: Draft, rule: DraftRule, directive: Directive) -> None:
    if len(draft.rules) >= MAX_RULES:
        raise _too_many(directive)
    draft.rules.append(rule)


def _too_many(directive: Directive) -> ConfigError:
    return ConfigError([Problem(f"more than {MAX_RULES} rules would be needed", directive.file, directive.line, 1)])


def _add_host_condition(one: Directive, server: Server, draft: Draft) -> None:
    """Add a rule for what certbot and others write: `if ($host = name) { return 301 ...; }`, and for `$scheme`."""
    returns = [inner for inner in one.block or [] if inner.name == "return"]
    only = Server(server.directive, server.scope, server.listeners, server.names)
    match one.args:
        case ["$host" | "$http_host", "=", name] if len(returns) == 1 and "$" not in name:
            only.names = [name.lower()]
            if server.names is not None:
                server.names = [known for known in server.names if known != name.lower()]
        case ["$host" | "$http_host", "!=", name] if len(returns) == 1 and "$" not in name:
            if only.names is not None:
                only.names = [known for known in only.names if known != name.lower()]
            server.names = [name.lower()]
        case ["$scheme", "=", "http"] | ["$scheme", "!=", "https"] if returns and server.listeners is not None:
            only.listeners = [uri for uri in server.listeners if uri.startswith("http:")]
            server.listeners = [uri for uri in server.listeners if uri not in only.listeners]
        case _:
            return
    one.used = returns[0].used = True
    if [] in (only.listeners, only.names):
        return
    try:
        _append(draft, DraftRule(_where(only) | return_keys(returns[0], server.scope)), one)
    except NoCounterpart as error:
        draft.comments.append(draft.lose(one, str(error)))


def _add_redirects(server: Server, draft: Draft) -> bool:
    """Add rules for the `rewrite` of a server that redirect. Return whether one of them is for all paths."""
    for one in server.scope.own("rewrite"):
        expression, to, *flags = one.args
        status = {"permanent": 301, "redirect": 302}.get(flags[0] if flags else "")
        exact = re.fullmatch(r"\^(/(?:[\w/.-]|\\[./-])*)\$", expression)
        try:
            if status is None and not to.startswith(("http://", "https://")):
                raise NoCounterpart("of a server, only redirects are known")
            keys: dict[str, Any] = {"handler": "redirect", "to": text(redirect_url(to)), "status": status or 302}
            if expression in ALL_PATHS:
                _append(draft, DraftRule(_where(server) | keys), one)
                return True
            if exact is None:
                raise NoCounterpart("of a server, only single paths and all paths are known")
            _append(draft, DraftRule(_where(server) | {"path": exact[1].replace("\\", "")} | keys), one)
        except NoCounterpart as error:
            draft.comments.append(draft.lose(one, str(error)))
    return False
