"""Compiles `rate_limit` of HTTP rules: into a gate if the key is known without an exchange, else into a check."""

from __future__ import annotations

from hashlib import blake2b
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from npserver.errors import clip
from npserver.http.field_names import TOKEN
from npserver.limits.compile import compile_limit
from npserver.limits.config import RateLimit
from npserver.network_sets.events import LEARNING
from npserver.web.maps.compile import MAPS
from npserver.web.middleware.rate_limit.limit import RateCheck, RateGate, RateMiddleware
from npserver.web.rule_names import lasting_name
from npserver.web.variables import compile_template, variable_names

if TYPE_CHECKING:
    from npserver.config.report import Path
    from npserver.http.request import Request
    from npserver.runtime.compilation import Compilation
    from npserver.web.config import HttpRule
    from npserver.web.exchange import Exchange
    from npserver.web.variables import Template

#: Variables whose values a client's address and the request's head give; those of header fields do too.
_OF_HEADS = {"client_ip", "method", "host", "authority", "path", "query", "request_uri"}
MAX_KEY = 64  # characters; a longer key is hashed, so that what is kept by key stays small


def compile_rate_limit(compilation: Compilation, path: Path, rule: HttpRule) -> RateMiddleware | None:
    """Make the middleware of a rule's `rate_limit`; None for one of users. Errors stand in the report."""
    return _compile(compilation, path, rule, is_of_users=False)


def compile_user_rate_limit(compilation: Compilation, path: Path, rule: HttpRule) -> RateMiddleware | None:
    """Make the middleware of a rule's `rate_limit` whose key is known only after the sign-in; None for any other."""
    return _compile(compilation, path, rule, is_of_users=True)


def _compile(compilation: Compilation, path: Path, rule: HttpRule, *, is_of_users: bool) -> RateMiddleware | None:
    if not rule.limits_requests:
        return None
    place = (rule.listener, rule.host, rule.path, rule.path_regex, rule.match, rule.from_, rule.not_)
    name = lasting_name(compilation, path, rule)
    limit = compile_limit(compilation, (*path, "rate_limit"), rule.rate_limit, place, name)
    if limit is None:
        return None
    section, report = limit.section, compilation.report
    for index, method in enumerate(section.methods):
        if not TOKEN.fullmatch(method) or method != method.upper():
            report.error((*limit.place, "methods", index), f'expected a method such as "POST", got {clip(method)}')
    names = variable_names(section.key)
    if any(name.startswith("jwt.") for name in names) is not is_of_users:
        return None
    if is_of_users and rule.jwt is None:
        report.warn((*path, "rate_limit"), f"the rule has no 'jwt': all requests count as one user's, by {section.key}")
    if section.ipv6_prefix != RateLimit(rate="0").ipv6_prefix and "client_ip" not in names:
        report.warn((*limit.place, "ipv6_prefix"), f"no effect: 'key' has no $client_ip, it is {clip(section.key)}")
    on_refusal = LEARNING.of(compilation).hook("limited")
    if section.key == "$client_ip":
        return RateGate(limit.limiter(compilation, limit.client_key), limit, on_refusal=on_refusal)
    try:
        template = compile_template(
            section.key, {**MAPS.of(compilation), "client_ip": lambda exchange: limit.client_key(exchange.client_ip)}
        )
    except ValueError as error:
        report.error((*limit.place, "key"), str(error))
        return None
    limiter = limit.limiter(compilation)
    if all(name in _OF_HEADS or name.startswith("header.") for name in names):
        return RateGate(limiter, limit, _key_of_head(template), on_refusal)
    return RateCheck(limiter, limit, lambda exchange: _short(template(exchange)), on_refusal)


def _key_of_head(template: Template) -> Any:
    def key(client_ip: str, request: Request) -> str:
        return _short(template(cast("Exchange", SimpleNamespace(client_ip=client_ip, request=request))))

    return key


def _short(key: str) -> str:
    if len(key) <= MAX_KEY:
        return key
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=32).hexdigest()
