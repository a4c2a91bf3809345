"""Decides whether a request is sent again after a failed attempt. Used by `web.handlers.proxy.call`."""

from __future__ import annotations

from dataclasses import dataclass

from npserver.errors import Phase


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The keys `retries` and `retry_on` of an upstream."""

    retries: int = 2  # further targets tried for one request
    retry_on: frozenset[str] = frozenset({"connect", "send"})

    def allows(self, failure: str, attempts: int, *, repeatable: bool, sent: bool) -> bool:
        """Return whether another target may be tried, if there is one, and `spend` agrees.

        Args:
            failure: the failure as `retry_on` names it: `connect`, `send`, `timeout`, or a status.
            attempts: the number of targets tried so far.
            repeatable: the method is idempotent (RFC 9110 §9.2.2), and the body sent so far is still in memory.
            sent: the target may have received a part of the request.
        """
        if attempts > self.retries or failure not in self.retry_on:
            return False
        return repeatable or not sent

    def has_budget(self) -> bool:
        """Return whether the upstream may be sent a retry now."""
        return True

    def spend(self) -> bool:
        """Count a retry for which there is a target. Return whether it may be sent there."""
        return True


def classify(phase: Phase, *, timeout: bool) -> str:
    """Return the name of a failure in `retry_on`: `connect`, `send` or `timeout`."""
    if phase in (Phase.RESOLVE, Phase.DIAL):
        return "connect"
    return "timeout" if timeout else "send"


def is_stale(*, reused: bool, answered: bool, timeout: bool, repeatable: bool, sent: bool) -> bool:
    """Return whether an attempt failed only because the target had closed an idle connection from the pool.

    If so, the request may be sent again to the same target over a new connection. RFC 9112 §9.3.1: a request that is
    not idempotent is sent again only if the target is known not to have received it.
    """
    return reused and not answered and not timeout and (repeatable or not sent)
