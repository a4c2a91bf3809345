"""nginx's `server` blocks as rules. Called by `importing.nginx`.

nginx looks for the longest prefix first, then for the first regular expression, which wins unless the prefix has
`^~`. Here the longest path wins, and of its rules the first that fits: so the rules of regular expressions stand before
those of each prefix.
"""

from __future__ import annotations

import re
from typing import Any

from msgspec import Struct

from npserver.errors import ConfigError, Problem
from npserver.importing.directives import Directive
from npserver.importing.draft import MAX_RULES, Draft, DraftRule
from npserver.importing.handlers import handler_keys, return_keys
from npserver.importing.place import Place
from npserver.importing.scope import Scope
from npserver.importing.texts import NoCounterpart, path_regex, text
from npserver.importing.upstreams import Upstreams

_PATH = re.compile(r"/[^*\s\x00-\x1f\\?#]*")
_ALL = {"^", "^/", "^.*", "^.*$", "^(.*)", "^(.*)$", "^/(.*)$", "^/(.*)", "(.*)", ".*", "/(.*)"}


class _Location(Struct):
    directive: Directive
    scope: Scope
    kind: str  # "prefix", "exact", "regex"
    pattern: str  # the path without a slash at the end; of a regular expression the one for our `path_regex`
    is_final: bool = False  # `^~`: no regular expressions


class Server(Struct):
    """A `server` block, and where its rules apply."""

    directive: Directive
    scope: Scope
    listeners: list[str] | None  # None: all of them
    names: list[str] | None  # None: any


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
    _add_rules(server, draft, upstreams)
    draft.comment_on(start, draft.left_over([one for one in server.scope.blocks[-1] if one.name != "location"]))


def _add_rules(server: Server, draft: Draft, upstreams: Upstreams) -> None:
    for condition in list(server.directive.inside("if")):
        _add_condition(condition, server, draft)
    if server.names == [] or server.listeners == []:
        return
    if _add_redirects(server, draft):
        return
    if any(one.name == "return" for one in server.scope.blocks[-1]):
        _mark(list(server.directive.inside("location")))
        place = Place(server.scope)
        _add(server, draft, upstreams, place, {}, [])
        return
    locations = list(_locations(server.scope, draft))
    expressions = [one for one in locations if one.kind == "regex"]
    scripts = [one.scope for one in expressions if "php" in one.pattern and _has(one, "fastcgi_pass")]
    php = scripts[0] if scripts else None
    named = {one.pattern: one.scope for one in locations if one.kind == "named"}
    prefixes = {one.pattern: one for one in locations if one.kind == "prefix"}
    for prefix in sorted({"", *prefixes}, key=lambda path: (len(path), path)):
        at = {"path": f"{prefix}/**"} if prefix else {}
        own = prefixes.get(prefix)
        for one in expressions if own is None or not own.is_final else []:
            if _may_match(one.pattern, prefix):
                place = Place(one.scope, prefix, prefix or "/", is_regex=True)
                _add(server, draft, upstreams, place, {**at, "path_regex": one.pattern}, _leaves(one))
        if own is not None:
            _add(
                server,
                draft,
                upstreams,
                Place(own.scope, prefix, own.directive.args[-1], php=php, named=named),
                at,
                _leaves(own),
            )
        else:
            _add(server, draft, upstreams, Place(server.scope, php=php, named=named), at, [])
    for one in locations:
        if one.kind == "exact":
            place = Place(one.scope, "", one.pattern, is_exact=True, php=php, named=named)
            _add(server, draft, upstreams, place, {"path": one.pattern}, _leaves(one))


def _has(location: _Location, name: str) -> bool:
    return any(one.name == name for one in location.scope.blocks[-1])


def _leaves(location: _Location) -> list[Directive]:
    return [one for one in location.directive.block or [] if one.name != "location"]


def _mark(directives: list[Directive]) -> None:
    for one in directives:
        one.used = True
        _mark(one.block or [])


def _may_match(expression: str, prefix: str) -> bool:
    """Whether an expression may describe a path below the prefix: not if both begin with different texts."""
    begin = re.match(r"[\w/-]*(?![?*{])", expression)  # a literal before a repeat is not in it
    start = begin[0] if begin and not expression.startswith(".") else ""
    return not start or prefix.startswith(start) or start.startswith(prefix)


def _add(
    server: Server,
    draft: Draft,
    upstreams: Upstreams,
    place: Place,
    where: dict[str, Any],
    own: list[Directive],
) -> None:
    comments: list[str] = []
    try:
        keys = handler_keys(place, draft, upstreams, comments)
    except NoCounterpart as error:
        keys = {"handler": "respond", "status": 501, "body": "not imported\n"}
        comments.append(f"not imported: {error}")
        draft.losses.append(f"answered with 501: {error}")
    rule = _rule(server, where | keys)
    rule.comments = comments + draft.left_over(own)
    _append(draft, rule, server.directive)


def _rule(server: Server, keys: dict[str, Any]) -> DraftRule:
    at: dict[str, Any] = {}
    if server.listeners is not None:
        at["listener"] = server.listeners[0] if len(server.listeners) == 1 else server.listeners
    if server.names is not None:
        at["host"] = server.names[0] if len(server.names) == 1 else server.names
    return DraftRule(at | keys)


def _append(draft: Draft, rule: DraftRule, directive: Directive) -> None:
    if len(draft.rules) >= MAX_RULES:
        raise ConfigError([Problem(f"more than {MAX_RULES} rules would be needed", directive.file, directive.line, 1)])
    draft.rules.append(rule)


def _add_condition(one: Directive, server: Server, draft: Draft) -> None:
    """Add a rule for what certbot and others write: `if ($host = name) { return 301 ...; }`, and for `$scheme`."""
    returns = [inner for inner in one.block or [] if inner.name == "return"]
    only = Server(server.directive, server.scope, server.listeners, server.names)
    match one.args:
        case ["$host" | "$http_host", "=", name] if len(returns) == 1 and "$" not in name:
            only.names = [name.lower()]
            if server.names is not None:
                server.names = [known for known in server.names if known != name.lower()]
        case ["$scheme", "=", "http"] | ["$scheme", "!=", "https"] if returns and server.listeners is not None:
            only.listeners = [uri for uri in server.listeners if uri.startswith("http:")]
            server.listeners = [uri for uri in server.listeners if uri not in only.listeners]
        case _:
            draft.comments.append(draft.lose(one, "conditions are 'match', 'from' and 'not' of a rule"))
            return
    one.used = returns[0].used = True
    if only.listeners == []:
        return
    try:
        _append(draft, _rule(only, return_keys(returns[0], server.scope)), one)
    except NoCounterpart as error:
        draft.comments.append(draft.lose(one, str(error)))


def _add_redirects(server: Server, draft: Draft) -> bool:
    """Add rules for the `rewrite` of a server that redirect. Return whether one of them is for all paths."""
    for one in server.scope.own("rewrite"):
        expression, to, *flags = one.args
        status = {"permanent": 301, "redirect": 302}.get(flags[0] if flags else "")
        exact = re.fullmatch(r"\^(/[\w/-]*(?:\\?\.[\w-]+)*)\$", expression)
        try:
            if status is None and not to.startswith(("http://", "https://")):
                raise NoCounterpart("of a server, only redirects are known")
            if expression in _ALL:
                url = re.sub(r"/?\$1$", "$request_uri", to)
                _append(draft, _rule(server, {"handler": "redirect", "to": text(url), "status": status or 302}), one)
                return True
            if exact is None:
                raise NoCounterpart("of a server, only single paths and all paths are known")
            keys = {"path": exact[1].replace("\\", ""), "handler": "redirect", "to": text(to), "status": status or 302}
            _append(draft, _rule(server, keys), one)
        except NoCounterpart as error:
            draft.comments.append(draft.lose(one, str(error)))
    return False


def _locations(scope: Scope, draft: Draft) -> list[_Location]:
    """Return the locations in a block, and in these."""
    found: list[_Location] = []
    for one in scope.blocks[-1]:
        if one.name != "location" or one.used:
            continue
        one.used = True
        modifier, pattern = (one.args[0], one.args[1]) if len(one.args) == 2 else ("", one.args[0])
        inner = scope.inner(one.block or [])
        try:
            if modifier in ("~", "~*"):
                expression = path_regex(pattern, any_case=modifier == "~*")
                found.append(_Location(one, inner, "regex", expression))
            elif pattern.startswith("@"):
                found.append(_Location(one, inner, "named", pattern))
            elif not _PATH.fullmatch(pattern):
                raise NoCounterpart("not a path")
            elif modifier == "=":
                found.append(_Location(one, inner, "exact", pattern))
            else:
                found.append(_Location(one, inner, "prefix", pattern.rstrip("/"), modifier == "^~"))
                if not pattern.endswith("/") and "." not in pattern:
                    draft.comments.append(f"{one.place}: {one.text[:80]}: only {pattern} and {pattern}/...")
        except NoCounterpart as error:
            draft.comments.append(draft.lose(one, str(error)))
            _mark(one.block or [])
            continue
        found += _locations(inner, draft)
    return found
