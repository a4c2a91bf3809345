"""The middleware of every HTTP rule, in order: requests pass the list forwards, responses backwards.

The order is part of the design; each place has its reason. A middleware is a folder beside this file: the keys it adds
to a rule, `compile.py` and its run time, which is imported only if a config uses it. Other installed packages add
theirs as `AddedMiddleware`, see `config.extensions`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from npserver.errors import clip

if TYPE_CHECKING:
    from npserver.config.report import Path
    from npserver.runtime.compilation import Compilation
    from npserver.web.config import HttpRule
    from npserver.web.exchange import Middleware


class MiddlewareKind(Struct, frozen=True):
    """One kind of middleware: the keys of a rule that ask for it, and the function that compiles them."""

    name: str
    keys: tuple[str, ...]  # of a rule; one that is set asks for the middleware
    global_keys: tuple[str, ...]  # of the whole config, which ask for it on every rule
    compiler: str  # "module:function", called with (compilation, path, rule)


class AddedMiddleware(Struct, frozen=True):
    """Middleware of another installed package: it adds one key to every HTTP rule."""

    #: The type of the key's value with its description, as in a section: `Annotated[bool, D("...")]`.
    value: Any
    #: Makes the middleware from the compilation, the key's path in the config and its value; None if there is nothing
    #: to do, or with an error in the report.
    compile: Callable[[Compilation, Path, Any], Middleware | None]
    #: The names of npserver's own middleware before or after which it stands; neither: the last, next to the handler.
    before: str = ""
    after: str = ""


MIDDLEWARE = (
    # Outermost: the fields that a rule sets stand on its refusals and error pages too.
    MiddlewareKind("headers", ("response_headers", "headers"), (), "headers.compile:compile_headers"),
    # Before whatever may refuse a request, as its pages are for their refusals.
    MiddlewareKind("error_pages", ("error_pages",), ("error_pages",), "error_pages.compile:compile_error_pages"),
    # The cheapest check first: an address costs nothing to look up, and a stranger learns nothing of what follows.
    MiddlewareKind("networks", ("allow", "deny"), (), "networks.compile:compile_network_gate"),
    # After the networks: checking a password is slow on purpose, so nobody outside them may ask for it.
    MiddlewareKind("basic_auth", ("basic_auth",), (), "basic_auth.compile:compile_basic_auth"),
)


def compile_middleware(compilation: Compilation, path: Path, rule: HttpRule) -> tuple[Middleware, ...]:
    """Compile the middleware of a rule, in order. Errors stand in the report."""
    found: list[tuple[str, Middleware | None]] = []
    for kind in MIDDLEWARE:
        is_used = any(getattr(rule, key, None) for key in kind.keys)
        if is_used or any(getattr(compilation.config, key) for key in kind.global_keys):
            module, _, function = kind.compiler.partition(":")
            compiler = getattr(import_module(f"npserver.web.middleware.{module}"), function)
            found.append((kind.name, compiler(compilation, path, rule)))
        else:
            found.append((kind.name, None))
    if rule.added:
        _insert_added(compilation, path, rule, found)
    return tuple(one for _, one in found if one is not None)


def _insert_added(
    compilation: Compilation, path: Path, rule: HttpRule, found: list[tuple[str, Middleware | None]]
) -> None:
    """Put the middleware of other packages in its places; in the order of the names where the places are the same."""
    from npserver.config.extensions import MIDDLEWARE as ADDED
    from npserver.config.extensions import find

    for key, value in sorted(rule.added.items()):
        extension: AddedMiddleware = find(ADDED, key)
        neighbour = extension.before or extension.after
        names = [name for name, _ in found]
        if neighbour and neighbour not in names:
            known = ", ".join(kind.name for kind in MIDDLEWARE)
            message = f"middleware {key!r} is to stand next to {clip(neighbour)}, which is none of {known}"
            compilation.report.error((*path, key), message)
            continue
        place = len(found)
        if neighbour:
            place = names.index(neighbour)
            while extension.after and place < len(found) and (names[place] == neighbour or names[place] in rule.added):
                place += 1
        found.insert(place, (key, extension.compile(compilation, (*path, key), value)))
