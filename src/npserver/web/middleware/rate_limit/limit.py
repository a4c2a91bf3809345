"""The rate limit of a rule: requests over it are answered with 429, or another `status`.

The answer has Retry-After (RFC 9110 §10.2.3), and RateLimit-Policy and RateLimit as the draft of the HTTPAPI working
group has them (draft-ietf-httpapi-ratelimit-headers).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from npserver.limits.rate import seconds_up
from npserver.web.exchange import Middleware, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.http.request import Request
    from npserver.limits.compile import CompiledLimit
    from npserver.limits.limiter import RateLimiter
    from npserver.web.exchange import Exchange

log = logging.getLogger("npserver.http")


class RateMiddleware(Middleware):
    """What both forms share: what is done with a request over the limit."""

    def __init__(
        self, limiter: RateLimiter, limit: CompiledLimit, on_refusal: Callable[[str], None] | None = None
    ) -> None:
        """Create it. `on_refusal` is called with the address of a client that is refused."""
        self._limiter = limiter
        self._on_refusal = on_refusal
        self._take = limiter.take
        self._methods = frozenset(limit.section.methods)
        self._status = limit.section.status
        self._is_dry_run = limit.section.dry_run
        self._key = limit.decided_by
        rate = limit.rate
        name = limit.name if limit.place[0] == "rate_limits" else ""
        self._name = name.replace("\\", "").replace('"', "") if name.isascii() and name.isprintable() else ""
        self._policy = f'RateLimit-Policy: "{self._name or "default"}";q={rate.burst};w={seconds_up(rate.span_ns)}\r\n'

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._limiter!r}>"

    def _refusal(self, wait_ns: int, client_ip: str) -> Refusal | None:
        """Return the refusal of a request over the limit; None if it passes all the same."""
        if self._is_dry_run:
            level = self._limiter.count_limited()
            log.log(level, "request from %s is over the rate limit, and passes (%s.dry_run)", client_ip, self._key)
            return None
        after_s = seconds_up(wait_ns)
        fields = f'Retry-After: {after_s}\r\n{self._policy}RateLimit: "{self._name or "default"}";r=0;t={after_s}\r\n'
        return Refusal(
            self._status, "over the rate limit", self._key, fields.encode(), lambda: self._refused(client_ip)
        )

    def _refused(self, client_ip: str) -> int:
        """Count a refusal that is sent. Return the level of its line in the log."""
        if self._on_refusal is not None:
            self._on_refusal(client_ip)
        return self._limiter.count_limited()


class RateGate(RateMiddleware):
    """A limit whose key is the client's address, or is made from the head of the request by `key`."""

    def __init__(
        self,
        limiter: RateLimiter,
        limit: CompiledLimit,
        key: Callable[[str, Request], str] | None = None,
        on_refusal: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(limiter, limit, on_refusal)
        self._make_key = key

    def gate(self, client_ip: str, request: Request) -> Refusal | None:
        """Count the request. Return None if it is within the limit, else the refusal."""
        # hot: edge-limit
        if self._methods and request.method not in self._methods:
            return None
        wait = self._take(client_ip if self._make_key is None else self._make_key(client_ip, request))
        return self._refusal(wait, client_ip) if wait else None


class RateCheck(RateMiddleware):
    """A limit whose key takes the whole exchange, such as one with `$tls_client_subject`."""

    def __init__(
        self,
        limiter: RateLimiter,
        limit: CompiledLimit,
        key: Callable[[Exchange], str],
        on_refusal: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(limiter, limit, on_refusal)
        self._make_key = key

    def request(self, exchange: Exchange) -> None:
        """Count the request, and let it pass if it is within the limit."""
        if self._methods and exchange.request.method not in self._methods:
            exchange.proceed()
            return
        wait = self._take(self._make_key(exchange))
        refusal = self._refusal(wait, exchange.client_ip) if wait else None
        if refusal is None:
            exchange.proceed()
            return
        level = self._refused(exchange.client_ip)
        exchange.fail(refusal.status, refusal.reason, refusal.key, refusal.fields, level=level)
