"""One question to an authorization server: a GET without a body over a pooled connection, and its answer.

Made by `web.middleware.forward_auth.check` for each request. It is the response sink of the upstream client and the
source of the exchange, so that a client that leaves ends it. `upstream.retry` decides which failures are retried; the
deadline sweeper enforces the time limit. The answer is collected whole: its size and time are limited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from npserver.errors import UpstreamError
from npserver.runtime.tasks import spawn
from npserver.upstream.connection_state import IDLE
from npserver.upstream.retry import classify, is_stale
from npserver.web.handlers.proxy.connect import connect_for, connect_target

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from npserver.http.response_parser import ResponseHead
    from npserver.runtime.scoreboard import Row
    from npserver.upstream.client import UpstreamClient
    from npserver.upstream.group import Upstream
    from npserver.upstream.response_sink import ClientSettings
    from npserver.upstream.target import Target
    from npserver.web.exchange import Exchange


class Terms(Struct, frozen=True, eq=False):
    """What all questions of a rule go by."""

    upstream: Upstream
    client: ClientSettings
    timeout_s: float
    max_bytes: int  # of an answer's body
    key: str  # the config key: `dispatch[3].forward_auth`
    row: Row  # of the scoreboard
    slots: dict[str, int]  # in it, by the result of a question: `passed`, `refused` or `failed`

    def count(self, result: str) -> None:
        """Count a request by its result."""
        self.row.slots[self.slots[result]] += 1


class Question(Struct, eq=False):
    """One question, with all its attempts."""

    # tried, attempts     the targets that failed, and the number of attempts
    # target, client      of the current attempt; None between attempts
    # answer, body        what has been received of the answer
    # is_over             whether it is answered, has failed, or the client has gone

    terms: Terms
    exchange: Exchange
    compose: Callable[[Target], bytes]  # writes the head to send
    answered: Callable[[Exchange, ResponseHead, bytes], None]
    deadline: float = 0.0
    tried: frozenset[Target] | tuple[()] = ()
    attempts: int = 0
    target: Target | None = None
    client: UpstreamClient | None = None
    answer: ResponseHead | None = None
    body: bytearray | None = None
    is_over: bool = False

    def __repr__(self) -> str:
        return f"<Question {self.exchange!r} target={self.target!r} attempts={self.attempts}>"

    # ── attempts ──

    def start(self) -> None:
        """Ask. The exchange is answered, or `answered` is called, now or later."""
        context = self.exchange.context
        self.exchange.source = self
        self.deadline = context.loop.time() + self.terms.timeout_s
        context.sweeper.watched.add(self)
        self._ask_next(None)

    def _ask_next(self, error: UpstreamError | None) -> None:
        upstream, exchange = self.terms.upstream, self.exchange
        target = upstream.pick(exchange.client_ip, exchange.connection_id, self.tried)
        if target is not None and (error is None or upstream.retry.spend()):
            self._ask(target)
        elif error is not None and (target is not None or len(upstream.targets) == 1):
            self._fail(error)
        else:
            self._end_failed()
            reason = f"no target of the authorization server left{f'; last error: {error}' if error else ''}"
            retry_after = b"Retry-After: %d\r\n" % upstream.retry_after_s()
            exchange.fail(503, reason, f"{self.terms.key}.to", retry_after)

    def _ask(self, target: Target, *, fresh: bool = False) -> None:
        self.attempts += 1
        self.target = target
        if self.exchange.trace is not None:
            self.exchange.trace.attempt("GET", target.address, target.uri)
        target.acquire()
        idle = target.pool.idle
        if idle and not fresh:
            self.send(idle.pop())
        else:
            spawn(connect_for(self, target), f"connecting to {target.uri}", self._dial_failed)

    def connect(self, target: Target) -> Awaitable[UpstreamClient]:
        """Open a connection to a target. Raises: UpstreamError."""
        terms = self.terms
        return connect_target(self.exchange, target, terms.client, terms.timeout_s, f"{terms.key}.timeout")

    def _dial_failed(self, error: BaseException) -> None:
        """Called when connecting has ended with an unexpected exception."""
        if not self.is_over:
            self._end_failed()
            self.exchange.fail(500, "internal error while connecting to the authorization server")

    def send(self, client: UpstreamClient) -> None:
        """Ask over a connection."""
        self.client = client
        assert self.target is not None
        client.send_request(self, self.terms.client, self.compose(self.target))

    def try_again(self, error: UpstreamError, target: Target, *, sent: bool) -> None:
        """Ask another target after an attempt that got no answer, or fail the exchange."""
        self._trace_failure(str(error))
        self._release()
        failure = classify(error.phase, timeout=error.timeout)
        if self.terms.upstream.retry.allows(failure, self.attempts, repeatable=True, sent=sent):
            self.tried = frozenset((*self.tried, target))
            self._ask_next(error)
        else:
            self._fail(error)

    # ── the answer ──

    def response_interim(self, head: ResponseHead) -> None:
        """Ignore a 1xx response."""

    def response_whole(self, head: ResponseHead, body: bytes) -> None:
        """Called with an answer that arrived in one read."""
        if len(body) > self.terms.max_bytes:
            self._refuse_size()
        else:
            self._complete(head, body)

    def response_start(self, head: ResponseHead) -> None:
        """Called with the head of an answer whose body follows."""
        self.answer, self.body = head, bytearray()
        if (head.length or 0) > self.terms.max_bytes:
            self._refuse_size()

    def response_data(self, data: bytes) -> None:
        """Called with the next data of the body."""
        assert self.body is not None
        self.body += data
        if len(self.body) > self.terms.max_bytes:
            self._refuse_size()

    def response_end(self, trailers: bytes) -> None:
        """Called when the answer is complete."""
        assert self.answer is not None
        assert self.body is not None
        self._complete(self.answer, bytes(self.body))

    def response_switch(self, head: ResponseHead, early: bytes) -> None:
        """Refuse a 101 response, which nobody has asked for."""
        if self.client is not None:
            self.client.transport.abort()
        self._end_failed()
        self.exchange.fail(502, f"authorization server answered {head.status}", f"{self.terms.key}.to")

    def response_lost(self, error: UpstreamError) -> None:
        """Called when the connection failed before the answer was complete."""
        client, target = self.client, self.target
        assert client is not None
        assert target is not None
        self.client = None
        answered = client.is_answered or self.answer is not None
        self._trace_failure(str(error))
        if is_stale(reused=error.reused, answered=answered, timeout=error.timeout, repeatable=True, sent=True):
            self._release()
            self.attempts -= 1
            self._ask(target, fresh=True)
            return
        target.count_failure()
        if answered:
            self._fail(error)
        else:
            self.try_again(error, target, sent=True)

    def request_pause(self) -> None:
        """Do nothing: the request has no body."""

    def request_resume(self) -> None:
        """Do nothing: the request has no body."""

    def _complete(self, head: ResponseHead, body: bytes) -> None:
        client, target = self.client, self.target
        assert client is not None
        assert target is not None
        if client.is_private and client.state is IDLE:  # it has authenticated one user
            client.close()
        self.client = None
        if self.exchange.trace is not None:
            self.exchange.trace.answered(head.status)
        if head.status >= 500 and self._retry_for_status(head.status, target):
            return
        self._end()
        self.answered(self.exchange, head, body)

    def _retry_for_status(self, status: int, target: Target) -> bool:
        """Count a 5xx. Return whether another target is asked, as `retry_on` says."""
        target.count_error()
        upstream, exchange = self.terms.upstream, self.exchange
        if not upstream.retry.allows(str(status), self.attempts, repeatable=True, sent=True):
            return False
        tried = frozenset((*self.tried, target))
        next_target = upstream.pick(exchange.client_ip, exchange.connection_id, tried)
        if next_target is None or not upstream.retry.spend():
            return False
        target.slots[target.failures_slot] += 1
        self._release()
        self.tried = tried
        self.answer = self.body = None
        self._ask(next_target)
        return True

    def _refuse_size(self) -> None:
        self._end_failed()
        reason = f"authorization server answered with more than {self.terms.max_bytes} bytes"
        self._trace_failure(reason)
        self.exchange.fail(502, reason, f"{self.terms.key}.max_answer_size")

    # ── called by the exchange as its source, and by the sweeper ──

    def pause(self) -> None:
        """Do nothing: nothing is sent to the client yet."""

    def resume(self) -> None:
        """Do nothing: nothing is sent to the client yet."""

    def cancel(self) -> None:
        """Called when the client has disconnected."""
        if not self.is_over:
            self._end()

    def expire(self, now: float) -> None:
        """Called when the answer has not come in time."""
        self._end_failed()
        reason = f"no answer of the authorization server within {self.terms.timeout_s:g} s"
        self._trace_failure(reason)
        self.exchange.fail(504, reason, f"{self.terms.key}.timeout")

    # ── the end ──

    def _fail(self, error: UpstreamError) -> None:
        """Answer 502, or 504 after a timeout."""
        self._end_failed()
        status = 504 if error.timeout else 502
        self.exchange.fail(status, f"authorization server {error}", error.key or f"{self.terms.key}.to")

    def _trace_failure(self, reason: str) -> None:
        if self.exchange.trace is not None:
            self.exchange.trace.failed(reason)

    def _end_failed(self) -> None:
        self._end()
        self.terms.count("failed")

    def _end(self) -> None:
        """Give up what is still going on, and release the target."""
        self.is_over = True
        if self.exchange.source is self:
            self.exchange.source = None
        self.exchange.context.sweeper.watched.discard(self)
        client, self.client = self.client, None
        if client is not None:
            client.abandon()
        self._release()

    def _release(self) -> None:
        target, self.target = self.target, None
        if target is not None:
            target.release()
