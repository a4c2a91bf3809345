"""nginx's `if` and `limit_except` as conditions of a rule. Called by `importing.server`.

A block with a condition is a rule of its own before the rule of the location around it: with the directives of both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from npserver.importing.directives import Directive
from npserver.importing.expressions import path_regex
from npserver.importing.scope import Scope
from npserver.importing.texts import NoCounterpart

_CHOICE = re.compile(r"(\^?)(?:\(\??:?([\w ./|\\-]+)\)|([\w ./\\-]+))(\$?)")
_ANSWERS = ("return", "rewrite", "proxy_pass")


class Conditional(Struct):
    """A block that counts for some requests only: the keys that say for which, and its directives."""

    directive: Directive
    keys: dict[str, Any]
    scope: Scope


def conditionals(scope: Scope, comments: list[str]) -> Iterator[Conditional]:
    """Yield the blocks with conditions in the innermost block, which are marked as used.

    Those that have no counterpart are left, with the reason. Raises: NoCounterpart for a `limit_except`.
    """
    ifs = list(scope.here("if"))
    for one in ifs:
        inside = one.block or []
        try:
            keys = _condition(one.args)
            answers = [inner.name for inner in inside if inner.name in _ANSWERS]
            if not answers and len(ifs) > 1:
                raise NoCounterpart("several conditions may hold at once")
            if "rewrite" in answers and "return" not in answers:
                inside = [_redirect(next(inner for inner in inside if inner.name == "rewrite"))]
            one.used = True
            yield Conditional(one, keys, _merged(scope, inside))
        except NoCounterpart as error:
            one.why = str(error)
    for one in list(scope.here("limit_except")):
        methods = [word.upper() for word in one.args]
        if not methods:
            raise NoCounterpart(f"{one.place}: limit_except without methods")
        one.used = True
        if "GET" in methods and "HEAD" not in methods:
            methods.append("HEAD")
        yield Conditional(one, {"not": {"method": methods}}, _merged(scope, one.block or []))


def _merged(scope: Scope, inside: list[Directive]) -> Scope:
    """Return the scope of a block in which what it does not say is that of the block around it."""
    names = {one.name for one in inside} | {"if", "limit_except"}
    if names & {"allow", "deny"}:
        names |= {"allow", "deny"}
    outer = [one for one in scope.blocks[-1] if one.name not in names]
    return scope.instead(outer + inside)


def _redirect(one: Directive) -> Directive:
    """Return the `return` for a `rewrite` of all paths that redirects. Raises: NoCounterpart."""
    one.used = True
    expression, to, *flags = one.args
    status = {"permanent": "301", "redirect": "302"}.get(flags[0] if flags else "")
    if expression not in ALL_PATHS or (status is None and not to.startswith(("http://", "https://"))):
        raise NoCounterpart("a rewrite is no redirect of all paths")
    return Directive(one.file, one.line, "return", [status or "302", redirect_url(to)])


#: Expressions that all paths fit, with or without a group for what follows the first slash.
ALL_PATHS = {"^", "^/", "^.*", "^.*$", "^(.*)", "^(.*)$", "^/(.*)$", "^/(.*)", "(.*)", "(.*)$", ".*", "/(.*)"}


def redirect_url(to: str) -> str:
    """Return the URL of a `rewrite` of all paths: it has the query of the request, unless it ends with `?`."""
    if to.endswith("?"):
        return re.sub(r"/?\$1$", "$uri", to[:-1])
    found = re.sub(r"/?\$1$", "$request_uri", to)
    return found if "$request_uri" in found or "?" in found else f"{found}$is_args$args"


def _condition(args: list[str]) -> dict[str, Any]:
    """Return the keys of a rule for the condition of an `if`. Raises: NoCounterpart."""
    if len(args) == 1 and args[0].startswith("$"):
        variable, operator, value = args[0], "", ""
    elif len(args) == 3:
        variable, operator, value = args
    else:
        raise NoCounterpart("conditions are 'match', 'from', 'path_regex' and 'not' of a rule")
    name = variable.removeprefix("$")
    if name in ("uri", "document_uri", "request_uri"):
        return _path(name, operator, value)
    wanted = _wanted(name, operator.removeprefix("!"), value)
    if operator.startswith("!"):
        return {"not": wanted}
    return {"from": wanted["from"]} if "from" in wanted else {"match": wanted}


def _wanted(name: str, operator: str, value: str) -> dict[str, Any]:
    """Return the conditions of `match` or `not`. Raises: NoCounterpart."""
    if "$" in value.rstrip("$"):
        raise NoCounterpart("variables in a condition")
    values: Any = True if not operator else value if operator == "=" else globs(value, any_case=operator == "~*")
    if isinstance(values, list) and len(values) == 1:
        values = values[0]
    if name == "request_method" and values is not True:
        methods = [values.upper()] if isinstance(values, str) else values
        if all(re.fullmatch(r"[A-Za-z]+", one) for one in methods):
            return {"method": [one.upper() for one in methods] if len(methods) > 1 else methods[0].upper()}
    if name == "scheme" and re.fullmatch("https?", value) and operator == "=":
        return {"protocol": value}
    if name in ("remote_addr", "realip_remote_addr") and operator == "=":
        return {"from": value}
    for prefix, kind in (("http_", "header"), ("arg_", "query"), ("cookie_", "cookie")):
        if name.startswith(prefix) and len(name) > len(prefix):
            rest = name[len(prefix) :]
            if operator == "=" and not value:
                values = False
            return {kind: {rest.replace("_", "-") if kind == "header" else rest: values}}
    raise NoCounterpart(f"a condition on ${name}")


def _path(name: str, operator: str, value: str) -> dict[str, Any]:
    if operator == "=":
        return {"path_regex": re.escape(value).replace(r"\-", "-")}
    if operator not in ("~", "~*"):
        raise NoCounterpart("a condition that the path does not fit")
    if name == "request_uri" and (r"\?" in value or value.endswith("$")):
        raise NoCounterpart("a condition on the query")
    found = path_regex(value, any_case=operator == "~*")
    if found.excepted:
        raise NoCounterpart("an exception in a condition")
    return {"path_regex": found.text}


def globs(expression: str, *, any_case: bool) -> list[str]:
    """Return values with stars for a regular expression of fixed texts. Raises: NoCounterpart."""
    match = _CHOICE.fullmatch(expression)
    if match is None or (any_case and re.search(r"[A-Za-z]", expression) and not (match[1] and match[4])):
        raise NoCounterpart("a regular expression in a condition; values are texts with '*'")
    found = []
    for one in (match[2] or match[3]).split("|"):
        if re.search(r"(?<!\\)\.|\\[^./-]|\*", one) or not one:
            raise NoCounterpart("a regular expression in a condition; values are texts with '*'")
        text = re.sub(r"\\(.)", r"\1", one)
        found.append(("" if match[1] else "*") + text + ("" if match[4] else "*"))
    return found
