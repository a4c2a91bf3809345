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
from npserver.runtime.compilation import PerCompilation

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
    handlers: tuple[str, ...] = ()  # the handlers whose rules have the keys; none: all have
    #: The URIs of the servers that it asks, whose host names must be looked up again and again.
    targets: Callable[[HttpRule], list[str]] = lambda rule: []


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
    # Outermost: it counts the bytes that are sent.
    MiddlewareKind("bandwidth", ("bandwidth",), (), "bandwidth.compile:compile_bandwidth"),
    # Outermost of what changes answers: the fields that a rule sets stand on its refusals and error pages too.
    MiddlewareKind("headers", ("response_headers", "headers"), (), "headers.compile:compile_headers"),
    # Inside `headers`, which can replace what is added here.
    MiddlewareKind("security_headers", ("security_headers",), (), "security_headers.compile:compile_security_headers"),
    # Around all that makes or keeps an answer: what stands inside sees the upstream's own bytes.
    MiddlewareKind("compress", ("gzip",), ("gzip",), "compress.compile:compile_compress", ("proxy", "fastcgi")),
    # Before `error_pages`, as its page is for its own refusals alone.
    MiddlewareKind("maintenance", ("maintenance",), (), "maintenance.compile:compile_maintenance"),
    # Before whatever may refuse a request, as its pages are for their refusals.
    MiddlewareKind("error_pages", ("error_pages",), ("error_pages",), "error_pages.compile:compile_error_pages"),
    # The cheapest check first: an address costs nothing to look up, and a stranger learns nothing of what follows.
    MiddlewareKind("networks", ("allow", "deny"), (), "networks.compile:compile_network_gate"),
    # After the networks, so that strangers count nothing, and the last gate, as a request that passes it is counted;
    # before the passwords, so that guesses count.
    MiddlewareKind("rate_limit", ("rate_limit",), (), "rate_limit.compile:compile_rate_limit"),
    # Before any sign-in: browsers send preflights without credentials.
    MiddlewareKind("cors", ("cors",), (), "cors.compile:compile_cors"),
    # After the gates, whose refusals take no time; before whatever may take some.
    MiddlewareKind("max_requests", ("max_requests",), (), "max_requests.compile:compile_max_requests"),
    # After the networks: checking a password is slow on purpose, so nobody outside them may ask for it.
    MiddlewareKind("basic_auth", ("basic_auth",), (), "basic_auth.compile:compile_basic_auth"),
    # As cheap as a password that is known, so before what asks another server.
    MiddlewareKind("jwt", ("jwt",), (), "jwt.compile:compile_jwt"),
    # After the checks that ask nobody else.
    MiddlewareKind(
        "forward_auth",
        ("forward_auth",),
        (),
        "forward_auth.compile:compile_forward_auth",
        targets=lambda rule: [rule.forward_auth.to] if rule.forward_auth else [],
    ),
    # A limit whose key is a claim: only now is it known who asks.
    MiddlewareKind("user_rate_limit", ("rate_limit",), (), "rate_limit.compile:compile_user_rate_limit"),
)


#: The middleware of each rule in order, with their names, by the rule's path in the config.
NAMED: PerCompilation[dict[Path, list[tuple[str, Middleware]]]] = PerCompilation(lambda _: {})


def middleware_targets(rule: HttpRule) -> list[str]:
    """Return the URIs of the servers that the middleware of a rule asks."""
    return [uri for kind in MIDDLEWARE for uri in kind.targets(rule)]


def compile_middleware(compilation: Compilation, path: Path, rule: HttpRule) -> tuple[Middleware, ...]:
    """Compile the middleware of a rule, in order. Errors stand in the report."""
    found: list[tuple[str, Middleware | None]] = []
    for kind in MIDDLEWARE:
        is_used = any(_is_set(getattr(rule, key, None)) for key in kind.keys)
        is_used = is_used or any(getattr(compilation.config, key) for key in kind.global_keys)
        if is_used and (not kind.handlers or rule.__struct_config__.tag in kind.handlers):
            module, _, function = kind.compiler.partition(":")
            compiler = getattr(import_module(f"npserver.web.middleware.{module}"), function)
            found.append((kind.name, compiler(compilation, path, rule)))
        else:
            found.append((kind.name, None))
    if rule.added:
        _insert_added(compilation, path, rule, found)
    named = NAMED.of(compilation)[path] = [(name, one) for name, one in found if one is not None]
    return tuple([one for _, one in named])


def _is_set(value: object) -> bool:
    """Return whether a key is set, if only to nothing: its compiler says what that means."""
    return bool(value) or (isinstance(value, (int, str)) and value is not False)


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
