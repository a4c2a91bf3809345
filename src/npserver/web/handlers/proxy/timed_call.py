"""Proxied requests whose response time is measured: for `balance` `least-time`, `metrics.times`, `tracing`, or a log.

Made by `web.handlers.proxy.general_handler`. The time is from the choice of the target, connecting included, to the
head of the response. For `balance`, an attempt that fails counts as `FAILURE_S` at the least: a target that fails fast
is not fast.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from npserver.observe.request_record import Attempt
from npserver.web.grpc_status import is_grpc, read_code
from npserver.web.handlers.proxy.call import ProxyCall
from npserver.web.handlers.proxy.request_head import upgrade_of
from npserver.web.handlers.proxy.upgrade import switch_fault
from npserver.web.handlers.proxy.waiting_call import WaitingCall

if TYPE_CHECKING:
    from npserver.errors import UpstreamError
    from npserver.http.response_parser import ResponseHead
    from npserver.upstream.client import UpstreamClient
    from npserver.upstream.target import Target

FAILURE_S = 1.0


class Timed(ProxyCall, eq=False):
    """What times the attempts of a request; the calls below have it before `ProxyCall` or `WaitingCall`."""

    # adds no fields, so that it can be one of two bases: `sent_at` is one of the calls below

    if TYPE_CHECKING:
        sent_at: float = 0.0  # by the monotonic clock

    def use(self, target: Target, *, fresh: bool = False) -> None:
        """Send the request to `target`."""
        self.sent_at = now = monotonic()
        exchange = self.exchange
        if self.proxy.settings.times_attempts:
            attempts = exchange.attempts = exchange.attempts or []
            if not (fresh and attempts and attempts[-1].target == target.uri):  # a kept connection was gone
                attempts.append(Attempt(target.uri, now, now, now, now))
        if exchange.trace is not None:
            exchange.trace.attempt(exchange.request.method, target.address, target.uri)
        super().use(target, fresh=fresh)

    def send(self, client: UpstreamClient) -> None:
        """Send the request over a connection."""
        if attempts := self.exchange.attempts:
            attempts[-1].connected = monotonic()
        super().send(client)

    def response_whole(self, head: ResponseHead, body: bytes) -> None:
        """Called with a complete response that arrived in one read."""
        _observe(self, head.status)
        _read_code(self, head.fields)
        super().response_whole(head, body)

    def response_start(self, head: ResponseHead) -> None:
        """Called with the head of a response whose body follows."""
        _observe(self, head.status)
        _read_code(self, head.fields)
        super().response_start(head)

    def response_end(self, trailers: bytes) -> None:
        """Called when the response is complete."""
        _read_code(self, trailers)
        _end_attempt(self, monotonic())
        super().response_end(trailers)

    def response_lost(self, error: UpstreamError) -> None:
        """Called when the connection failed before the response was complete."""
        _observe(self, 0)
        self._trace_failure(error)
        super().response_lost(error)

    def response_switch(self, head: ResponseHead, early: bytes) -> None:
        """Called for a 101 response: the connection becomes a tunnel. `balance` compares the times of others only."""
        exchange, target, now = self.exchange, self.target, monotonic()
        _end_attempt(self, now)
        if exchange.trace is not None:
            exchange.trace.answered(head.status)
        if target is not None and not switch_fault(exchange.request, upgrade_of(exchange.request), head):
            _count(self, target, now - self.sent_at)
        super().response_switch(head, early)

    def try_again(self, error: UpstreamError, target: Target, *, sent: bool) -> None:
        """Called after an attempt that got no response, such as one that could not connect."""
        self._trace_failure(error)
        _end_attempt(self, monotonic())
        super().try_again(error, target, sent=sent)

    def _abandon(self) -> None:
        if self.target is not None:  # the client has gone, or this side has failed, while it was asked
            _end_attempt(self, monotonic())
        super()._abandon()

    def _trace_failure(self, error: UpstreamError) -> None:
        if self.exchange.trace is not None:
            self.exchange.trace.failed(str(error))


class TimedCall(Timed, eq=False):
    """One request to an upstream, whose attempts are timed."""

    sent_at: float = 0.0


class TimedWaitingCall(Timed, WaitingCall, eq=False):
    """The same for a request that can wait."""

    sent_at: float = 0.0


def _read_code(call: Timed, fields: bytes) -> None:
    """Tell the trace of a call of gRPC the code that it was answered with, if the field lines have it."""
    exchange = call.exchange
    trace = exchange.trace
    if trace is not None and trace.is_sampled and is_grpc(exchange.request) and (code := read_code(fields)) is not None:
        trace.called(code)


def _end_attempt(call: Timed, now: float) -> None:
    """Take the time for the access logs: it is the end so far, and that of waiting for the head of the response."""
    if attempts := call.exchange.attempts:
        attempts[-1].ended = now
        if not call.is_started:
            attempts[-1].answered = now


def _observe(call: Timed, status: int) -> None:
    """Take the time of an attempt. `status`: of its response; 0: there was none."""
    target, now = call.target, monotonic()
    if target is None:
        return
    took_s = now - call.sent_at
    _end_attempt(call, now)
    trace = call.exchange.trace
    if status and trace is not None:
        trace.answered(status)
    if status:
        _count(call, target, took_s)
    if call.proxy.is_by_time:
        is_failure = not 0 < status < 500
        target.state.observe(max(took_s, FAILURE_S) if is_failure else took_s, now)


def _count(call: Timed, target: Target, took_s: float) -> None:
    """Count the time of a response for the metrics, by target and by rule, if they ask for it."""
    trace = call.exchange.trace
    for times in (target.times, call.proxy.times):
        if times is not None:
            times.observe(took_s)
            if trace is not None and trace.is_sampled:
                times.keep_trace(trace.trace_id, took_s)
