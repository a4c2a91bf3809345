"""What the middleware of a rule decides of a request: gates are asked; of the rest those that ask nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from npserver.web.compile import rule_path
from npserver.web.config import HttpRule
from npserver.web.middleware.basic_auth.check import PasswordCheck
from npserver.web.middleware.cors.policy import CorsPolicy
from npserver.web.middleware.forward_auth.check import AuthCheck
from npserver.web.middleware.jwt.check import JwtCheck, find_token
from npserver.web.middleware.max_requests.limit import RequestsInProgress
from npserver.web.middleware.order import MIDDLEWARE, NAMED
from npserver.web.scan_watch import ScanWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from npserver.explain.compiled import CompiledConfig
    from npserver.explain.exchange import AskedExchange
    from npserver.http.request import Request
    from npserver.web.exchange import Exchange, Middleware, Refusal, Route

_KEYS = {kind.name: kind.keys for kind in MIDDLEWARE}


def named_steps(config: CompiledConfig, index: int) -> Iterator[tuple[str, str]]:
    """Yield the name of each middleware of a rule in order, and where it is configured."""
    path = rule_path(index)
    for name, _ in NAMED.of(config.compilation).get(path, []):
        place = next((found for key in _KEYS.get(name, (name,)) if (found := _own_place(config, (*path, key)))), "")
        yield name, place


def show_gate(
    config: CompiledConfig,
    route: Route | None,
    gate: Callable[[str, Request], Refusal | None],
    refusal: Refusal | None,
) -> tuple[str, str]:
    """Return the name of the middleware that a gate is of, and what it has decided."""
    name = _name(config, getattr(gate, "__self__", None))
    if refusal is not None:
        return name, f"refuses with {refusal.status}: {refusal.reason}"
    if name == "rate_limit":
        return name, f"passes, as long as the client is within {_limit(config, route)}"
    if name == "maintenance":
        return name, "passes: it is off, or not for this client"
    return name, "passes"


def ask_request(
    config: CompiledConfig, route: Route | None, side: Callable[[Exchange], None], exchange: AskedExchange
) -> tuple[str, str]:
    """Let a middleware have an exchange, or take it to pass where only the running server can tell.

    Return its name, and what it decides; nothing for one that only looks on.
    """
    middleware: Any = getattr(side, "__self__", None)
    name = _name(config, middleware)
    if isinstance(middleware, ScanWatch):
        exchange.proceed()
        return name, ""
    assumed = _why_unknown(middleware, exchange.request)
    if assumed:
        exchange.proceed()
        return name, assumed
    told: Any = exchange
    side(told)
    if exchange.reason:
        return name, f"refuses with {exchange.status}: {exchange.reason}"
    if exchange.status and isinstance(middleware, CorsPolicy):
        return name, "answers the preflight"
    if isinstance(middleware, RequestsInProgress):
        return name, "passes, as long as fewer requests are in progress"
    return name, "passes"


def describe_side(name: str) -> str:
    """Return what a middleware without a decision does to the answer."""
    return {
        "bandwidth": "limits how fast the answer is sent",
        "headers": "changes the header of the answer",
        "security_headers": "adds fields that protect a site's users",
        "compress": "may compress the answer",
        "error_pages": "makes the pages of errors",
        "cors": "adds the fields of CORS",
    }.get(name, "")


def _why_unknown(middleware: object, request: Request) -> str:
    """Return what decides at run time, which here is taken to let the request pass; "" if it can be asked now."""
    if isinstance(middleware, PasswordCheck):
        return (
            "" if b"authorization" not in request.fields else "passes, if the password is right: it is not checked here"
        )
    if isinstance(middleware, JwtCheck):
        settings = middleware.settings
        if settings.source is None or find_token(request, settings.cookie) is None:
            return ""
        return "passes, if the token is valid: the issuer's keys are not fetched here"
    if isinstance(middleware, AuthCheck):
        return f"passes, if {middleware.settings.terms.upstream.name} lets it in: that is not asked here"
    if isinstance(middleware, (CorsPolicy, RequestsInProgress)):
        return ""
    return "passes, as far as is known before it runs"


def _name(config: CompiledConfig, middleware: Middleware | None) -> str:
    for named in NAMED.of(config.compilation).values():
        for name, one in named:
            if one is middleware:
                return name
    return type(middleware).__name__


def _limit(config: CompiledConfig, route: Route | None) -> str:
    """Return the rate limit of a rule, as the config has it."""
    for index, rule in enumerate(config.document.config.dispatch):
        if route is not None and isinstance(rule, HttpRule) and route.key == f"dispatch[{index}]":
            return str(rule.rate_limit) if isinstance(rule.rate_limit, str) else "its rate"
    return "its rate"


def _own_place(config: CompiledConfig, path: tuple[str | int, ...]) -> str:
    """Return the place of a key; "" if the rule does not have it."""
    whole, own = config.document.position(path[:-1]), config.document.position(path)
    return config.document.place(path) if own != whole and own[0] else ""
