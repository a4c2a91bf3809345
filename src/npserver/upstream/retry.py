"""What may be tried again after a failure: the table that `web.handlers.proxy.handler` asks."""

from __future__ import annotations

from dataclasses import dataclass

from npserver.errors import Phase

#: Statuses of an upstream that may stand in `retry_on`.
RETRIED_STATUSES = frozenset({502, 503, 504})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """What the config allows."""

    retries: int = 2  # further targets tried for one request
    retry_on: frozenset[str] = frozenset({"connect", "send"})

    def allows(self, failure: str, attempts: int, *, repeatable: bool, sent: bool) -> bool:
        """Whether another target may be tried.

        Args:
            failure: what went wrong: `connect`, `send`, `timeout` or a status, as in `retry_on`.
            attempts: how many targets have been tried.
            repeatable: the method is idempotent and the whole body sent so far is still at hand (RFC 9110 §9.2.2).
            sent: some of the request may have reached the target.
        """
        if attempts > self.retries or failure not in self.retry_on:
            return False
        return repeatable or not sent


def classify(phase: Phase, *, timeout: bool) -> str:
    """The word for a failure in `retry_on`."""
    if phase in (Phase.RESOLVE, Phase.DIAL):
        return "connect"
    return "timeout" if timeout else "send"


def is_stale(*, reused: bool, answered: bool, timeout: bool, repeatable: bool, sent: bool) -> bool:
    """Whether a failure is only that a pooled connection had died unseen: a fresh one to the same target may be tried.

    RFC 9112 §9.3.1: a request that is not idempotent is not sent again unless it is known not to have been received.
    """
    return reused and not answered and not timeout and (repeatable or not sent)
