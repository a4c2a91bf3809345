"""A proxied request that waits while all targets of its upstream are full or down (`wait` and `queue` of an upstream).

Made by `web.handlers.proxy.general_handler`, for rules whose upstream has `wait`. The body of a request that waits is
not read. A target that cannot be reached does not end the request: it waits again, at its place in the queue. One that
closes the connection without a response may be tried again, after a pause if there is no other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.upstream.retry import classify
from npserver.upstream.target import PROBE_AFTER_S
from npserver.web.handlers.proxy.call import ProxyCall

if TYPE_CHECKING:
    from npserver.errors import UpstreamError
    from npserver.http.response_parser import ResponseHead
    from npserver.upstream.group import Upstream
    from npserver.upstream.target import Target
    from npserver.upstream.waiting_queue import WaitingQueue


class WaitingCall(ProxyCall, eq=False):
    """One request to an upstream that requests can wait for; a `upstream.waiting_queue.Waiter`."""

    # see `Waiter`

    ticket: int = 0
    arrived: float = 0.0
    wait_s: float = 0.0
    failure: str = ""
    unsure: UpstreamError | None = None  # the failure of an attempt whose request may have been received

    @property
    def queue(self) -> WaitingQueue:
        """The queue of the upstream."""
        queue = self.proxy.upstream.queue
        assert queue is not None
        return queue

    def start(self) -> None:
        """Send the request to a target, or wait for one."""
        self.wait_s = float(self.proxy.upstream.section.wait)
        self.queue.enter(self, self.proxy.upstream.most_waiting)

    # ── called by the queue ──

    def choose(self) -> Target | None:
        """Return a target of the active config for the request, preferably one that has not failed it."""
        upstream = self._upstream()
        target = self.proxy.choose(self.exchange, self.tried, upstream)
        return self.proxy.choose(self.exchange, (), upstream) if target is None and self.tried else target

    def serve(self, target: Target) -> None:
        """Send the request to a target; again only within the budget of retries."""
        error, self.unsure = self.unsure, None
        if error is None or self.proxy.retry.spend():
            self.use(target)
        else:
            self._fail(error)

    # ── attempts ──

    def left_s(self) -> float:
        """Return what is left of `wait`, in seconds."""
        return self.queue.left_s(self)

    def try_again(self, error: UpstreamError, target: Target, *, sent: bool) -> None:
        """Wait for a target after an attempt that got no response, or fail the exchange."""
        self._release()
        failure, retry = classify(error.phase, timeout=error.timeout), self.proxy.retry
        if not sent:
            self.attempts -= 1  # the target is marked down: `wait` limits such attempts
            may_retry = failure in retry.retry_on
        else:
            may_retry = retry.allows(failure, self.attempts, repeatable=self._is_repeatable(), sent=True)
            may_retry = may_retry and retry.has_budget()
            self.unsure = error
            self.tried = frozenset((*self.tried, target))
        if not may_retry:
            self._fail(error)
            return
        self.failure = str(error)
        if sent and self.proxy.choose(self.exchange, self.tried, self._upstream()) is None:
            # all have failed it: a target that is being restarted would at once do so again, and use up the retries
            self.exchange.context.loop.call_later(PROBE_AFTER_S, self._wait_again)
        else:
            self._wait_again()

    def _wait_again(self) -> None:
        if not self.is_over:
            self.queue.enter(self, self.proxy.upstream.most_waiting)

    def _upstream(self) -> Upstream:
        """Return the upstream of the active config, but for rules with TLS settings of their own."""
        upstream = self.proxy.upstream
        return upstream.active if self.proxy.settings.rule.tls is None else upstream

    # ── the response ──

    def response_whole(self, head: ResponseHead, body: bytes) -> None:
        """Called with a complete response that arrived in one read: the target has a place for another request."""
        ProxyCall.response_whole(self, head, body)
        self.queue.wake()

    # ── the end ──

    def cancel(self) -> None:
        """Called when the client has disconnected."""
        if not self.is_over:
            self.queue.leave(self)
        ProxyCall.cancel(self)

    def _break_off(self, status: int, reason: str, key: str = "") -> None:
        self.queue.leave(self)
        ProxyCall._break_off(self, status, reason, key)
