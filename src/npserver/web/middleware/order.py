"""The middleware of every HTTP rule, in order: requests pass the list forwards, responses backwards.

The order is part of the design; each place has its reason. A middleware is a folder beside this file: the keys it adds
to a rule, `compile.py` and its run time, which is imported only if a config uses it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from msgspec import Struct

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
    found = []
    for kind in MIDDLEWARE:
        is_used = any(getattr(rule, key, None) for key in kind.keys)
        if is_used or any(getattr(compilation.config, key) for key in kind.global_keys):
            module, _, function = kind.compiler.partition(":")
            compiled = getattr(import_module(f"npserver.web.middleware.{module}"), function)(compilation, path, rule)
            if compiled is not None:
                found.append(compiled)
    return tuple(found)
