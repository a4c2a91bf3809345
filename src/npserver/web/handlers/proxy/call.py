"""One proxied request: choosing a target, connecting to it, passing the response back, and retrying after a failure.

Made by `web.handlers.proxy.handler.ProxyHandler` for each exchange. It is the response sink of the upstream client and
the response source of the exchange: data is passed on as it arrives, and a slow client slows the upstream down.
`web.handlers.proxy.upload` does the same for the request body. `upstream.retry` decides which failures are retried.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from msgspec import Struct

from npserver.errors import BadRequest, Phase, UpstreamError
from npserver.http.request import BY_LENGTH
from npserver.http.response_parser import ResponseHead
from npserver.runtime.tasks import spawn
from npserver.upstream.connection_state import IDLE
from npserver.upstream.retry import classify, is_stale
from npserver.web.handlers.proxy.connect import connect, connect_for
from npserver.web.handlers.proxy.proxy import ForwardedHead, Proxy
from npserver.web.handlers.proxy.refused_upgrade import upgrade_refused
from npserver.web.handlers.proxy.request_head import prepare_fields, upgrade_of
from npserver.web.handlers.proxy.resend import target_again
from npserver.web.handlers.proxy.response_buffer import ResponseBuffer
from npserver.web.handlers.proxy.tunnel import open_tunnel
from npserver.web.handlers.proxy.upgrade import switch_fault

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from npserver.upstream.client import UpstreamClient
    from npserver.upstream.target import Target
    from npserver.web.exchange import Exchange
    from npserver.web.handlers.proxy.buffered_upload import BufferedUpload
    from npserver.web.handlers.proxy.upload import Upload


class ProxyCall(Struct, eq=False):
    """One request to an upstream, with all its attempts."""

    # tried, attempts     the targets that failed, and the number of attempts
    # head                of the request as it is forwarded
    # target, client      of the current attempt; None between attempts
    # upload              the request's body, if it has one
    # output              where the response's body goes, once it has started: the exchange, or a buffer before it
    # is_started          whether the response head has been sent to the client
    # is_over             whether the exchange has been answered or has failed

    proxy: Proxy
    exchange: Exchange
    target: Target | None = None
    client: UpstreamClient | None = None
    head: bytes = b""
    tried: frozenset[Target] | tuple[()] = ()
    attempts: int = 0
    is_started: bool = False
    is_over: bool = False
    upload: Upload | BufferedUpload | None = None
    output: Exchange | ResponseBuffer | None = None

    def __repr__(self) -> str:
        return f"<ProxyCall {self.exchange!r} target={self.target!r} attempts={self.attempts}>"

    # ── attempts ──

    def start(self) -> None:
        """Choose a target and send the request."""
        # hot: proxy-small
        target = self.proxy.only_target or self.proxy.choose(self.exchange, ())
        if target is not None:
            self.use(target)
        else:
            self.fail_without_target()

    def use(self, target: Target, *, fresh: bool = False) -> None:
        """Send the request to `target`, over an idle connection if there is one and `fresh` is not set."""
        # hot: proxy-small
        exchange, proxy = self.exchange, self.proxy
        request = exchange.request
        kept = request.handler_cache
        if (
            type(kept) is ForwardedHead
            and kept.proxy is proxy and kept.target is target and kept.client_ip == exchange.client_ip
        ):  # fmt: skip
            self.head = kept.head
        else:
            try:
                self.head = proxy.compose(exchange, target, self.upload.length if self.upload is not None else None)
            except BadRequest as error:
                self._end()
                exchange.fail(error.status, str(error), error.key or f"{proxy.settings.key}.rewrite")
                return
        self.attempts += 1
        self.target = target
        target.slots[target.active_slot] += 1  # what `acquire` does, written out
        target.tallies[target.requests_tally] += 1
        exchange.upstream = target.uri
        private = exchange.private_upstreams
        if private and not fresh and (own := private.pop(target.pool, None)) is not None and own.state is IDLE:
            self.send(own)
            return
        idle = target.pool.idle
        if idle and not fresh:
            if request.is_plain and not prepare_fields(request.block).binds_connection:
                self.client = idle.pop()
                self.client.send_request(self, proxy.settings.client, self.head)
                return
            upgrade = bool(request.upgrade)
            is_safe = request.is_idempotent and not upgrade
            client = idle.pop() if is_safe else target.pool.take_checked(is_upgrade=upgrade)
            if client is not None:
                self.send(client)
                return
        spawn(connect_for(self, target), f"connecting to {target.uri}", self._dial_failed)

    def connect(self, target: Target) -> Awaitable[UpstreamClient]:
        """Open a connection to a target. Raises: UpstreamError."""
        return connect(self.proxy, self.exchange, target, self.left_s())

    def left_s(self) -> float:
        """Return what is left of `wait` for connecting, in seconds; 0 without it."""
        return 0.0

    def _dial_failed(self, error: BaseException) -> None:
        """Called when connecting has ended with an unexpected exception: answer 500, or break off."""
        if not self.is_over:
            self._break_off(500, "internal error while connecting to an upstream")

    def send(self, client: UpstreamClient) -> None:
        """Send the request over a connection."""
        # hot: proxy-small
        self.client = client
        upload = self.upload
        is_head = self.exchange.request.method == "HEAD"
        if prepare_fields(self.exchange.request.block).binds_connection:
            client.is_private = True
        client.begin(self, self.proxy.settings.client, is_head=is_head, has_body=upload is not None)
        if upload is None:
            client.write(self.head)
        else:
            upload.send(client, self.head)

    def try_again(self, error: UpstreamError, target: Target, *, sent: bool) -> None:
        """Try another target after an attempt that got no response, or fail the exchange."""
        self._release()
        failure = classify(error.phase, timeout=error.timeout)
        if not self.proxy.retry.allows(failure, self.attempts, repeatable=self._is_repeatable(), sent=sent):
            self._fail(error)
            return
        self.tried = frozenset((*self.tried, target))
        next_target = self.proxy.choose(self.exchange, self.tried)
        if next_target is not None and self.proxy.retry.spend():
            self.use(next_target)
        elif next_target is None and len(self.proxy.upstream.targets) > 1:
            self.fail_without_target(error)
        else:
            self._fail(error)

    def _is_repeatable(self) -> bool:
        """Return whether the request may be sent again, and all of its body that was sent is still there."""
        return self.upload.is_repeatable if self.upload is not None else self.exchange.request.is_idempotent

    # ── the request's body ──

    def request_pause(self) -> None:
        """Called when the buffer towards the upstream is full."""
        if self.upload is not None:
            self.upload.pause()

    def request_resume(self) -> None:
        """Called when that buffer has room again."""
        if self.upload is not None:
            self.upload.resume()

    def upload_lost(self) -> None:
        """Called when the client has broken off its request body; the exchange is already ending."""
        self.cancel()

    def upload_failed(self, status: int, reason: str, key: str) -> None:
        """Called when the request body cannot be buffered."""
        self._break_off(status, reason, key)

    # ── the response: upstream to client ──

    def response_interim(self, head: ResponseHead) -> None:
        """Called for a 1xx response: 100 starts the upload, others are passed on."""
        if head.status != 100:
            self.exchange.inform(head.status, head.fields)
        elif self.upload is not None:
            self.upload.continue_received()

    def response_whole(self, head: ResponseHead, body: bytes) -> None:
        """Called with a complete response that arrived in one read."""
        # hot: proxy-small
        client, self.client = self.client, None
        target, exchange, proxy = self.target, self.exchange, self.proxy
        assert client is not None
        assert target is not None
        if client.is_private:
            self._keep_private(client)
        if head.is_plain and exchange.request.is_plain and proxy.sticky is None:
            self.is_over = True
            self.target = None
            target.slots[target.active_slot] -= 1  # what `release` does, written out
            exchange.respond(head.status, head.fields, body)
            return
        status = head.status
        if status >= 500 and self._retry_for_status(status):
            return
        if status >= 400 and exchange.request.upgrade:
            upgrade_refused(proxy, exchange, self.head, status)
        self.is_over = True
        if self.upload is not None:
            self._stop_upload()
        self.target = None
        target.slots[target.active_slot] -= 1  # what `release` does, written out
        if head.needs_rewrite or proxy.sticky is not None:
            fields = proxy.response_fields(exchange, target, head)
        else:
            fields = head.fields
        if exchange.request.method == "HEAD" or status == 304 or status == 204:
            exchange.start(status, fields, head.length, None)
            exchange.finish()
        else:
            exchange.respond(status, fields, body)

    def response_start(self, head: ResponseHead) -> None:
        """Called with the head of a response whose body follows."""
        target = self.target
        assert target is not None
        if head.status >= 500 and self._retry_for_status(head.status):
            return
        if head.status >= 400 and self.exchange.request.upgrade:
            upgrade_refused(self.proxy, self.exchange, self.head, head.status)
        self.is_started = True
        fields = head.fields
        if head.needs_rewrite or self.proxy.sticky is not None:
            fields = self.proxy.response_fields(self.exchange, target, head)
        length = head.length if head.framing is BY_LENGTH else None
        exchange, spool = self.exchange, self.proxy.settings.response_spool
        if spool is None:
            self.output = exchange
            exchange.start(head.status, fields, length, self)
        else:
            self.output = buffer = ResponseBuffer(exchange, self, spool)
            exchange.start(head.status, fields, length, buffer)

    def response_data(self, data: bytes) -> None:
        """Called with the next data of the body."""
        self.output.write(data)  # type: ignore[union-attr]  # it has started

    def response_end(self, trailers: bytes) -> None:
        """Called when the response is complete."""
        client, self.client = self.client, None
        if client is not None and client.is_private:
            self._keep_private(client)
        self._end()
        assert self.output is not None
        self.output.finish(trailers)

    def response_switch(self, head: ResponseHead, early: bytes) -> None:
        """Called for a 101 response: the connection becomes a tunnel."""
        client, target, exchange, self.client = self.client, self.target, self.exchange, None
        assert client is not None
        assert target is not None
        fault = switch_fault(exchange.request, upgrade_of(exchange.request), head)
        if fault:
            client.transport.abort()
            target.count_failure()
            self._fail(UpstreamError(f"{target.uri}: {fault}", target.uri, Phase.RECEIVE))
            return
        self.is_over = True
        self._stop_upload()
        self.target = None  # it stays acquired until the tunnel ends
        fields = head.fields + b"Upgrade: " + head.upgrade + b"\r\n"
        open_tunnel(exchange, fields, client.transport, early, self.proxy.settings.rule, target)

    def response_lost(self, error: UpstreamError) -> None:
        """Called when the connection failed before the response was complete."""
        client, target, self.client = self.client, self.target, None
        assert client is not None
        assert target is not None
        if self.is_started:
            target.count_failure()
            self._end()
            assert self.output is not None
            self.output.abort(f"upstream {error}", self.proxy.settings.key_of(error), level=logging.WARNING)
            return
        if self.upload is not None:
            self.upload.hold()
        if error.unprocessed:
            self._release()
            if (next_target := target_again(self, error, target)) is not None:
                self.use(next_target)
                return
        answered, repeatable = client.is_answered, self._is_repeatable()
        if is_stale(reused=error.reused, answered=answered, timeout=error.timeout, repeatable=repeatable, sent=True):
            self._release()
            self.attempts -= 1
            self.use(target, fresh=True)
            return
        target.count_failure(error)
        if answered:
            self._fail(error)
        else:
            self.try_again(error, target, sent=True)

    def _retry_for_status(self, status: int) -> bool:
        """Count a 5xx. Return whether the request is sent to another target, as `retry_on` asks for it."""
        assert self.target is not None
        self.target.count_error()
        if not self.proxy.retry.allows(str(status), self.attempts, repeatable=self._is_repeatable(), sent=True):
            return False
        tried = frozenset((*self.tried, self.target))
        next_target = self.proxy.choose(self.exchange, tried)
        if next_target is None or not self.proxy.retry.spend():
            return False
        self.tried = tried
        self.target.slots[self.target.failures_slot] += 1
        self._abandon()
        if self.upload is not None:
            self.upload.hold()
        self._release()
        self.use(next_target)
        return True

    # ── called by the exchange as the source of its response ──

    def pause(self) -> None:
        """Called when the buffer towards the client is full."""
        if self.client is not None and self.is_started:
            self.client.pause_reading()

    def resume(self) -> None:
        """Called when the buffer has room again."""
        if self.client is not None:
            self.client.resume_reading()

    def cancel(self) -> None:
        """Called when the client has disconnected."""
        if self.is_over:
            return
        self._abandon()
        self._end()

    # ── the end ──

    def fail_without_target(self, error: UpstreamError | None = None) -> None:
        """Answer 503: there is no target, or none is left that has not failed."""
        reason = f"no target of upstream {self.proxy.upstream.name} left{self.proxy.upstream.why_no_target()}"
        if error is not None:
            reason += f"; last error: {error}"
        self.give_up(reason, self.proxy.settings.upstream_key)

    def give_up(self, reason: str, key: str) -> None:
        """Answer 503, with the time after which a target may be available again."""
        self._end()
        self.exchange.fail(503, reason, key, b"Retry-After: %d\r\n" % self.proxy.upstream.retry_after_s())

    def _fail(self, error: UpstreamError) -> None:
        """Answer 502, or 504 after a timeout."""
        self._end()
        self.exchange.fail(504 if error.timeout else 502, f"upstream {error}", self.proxy.settings.key_of(error))

    def _break_off(self, status: int, reason: str, key: str = "") -> None:
        """End after a fault on this side: answer with the status, or break off a response that has started."""
        self._abandon()
        self._end()
        if self.is_started:
            self.exchange.abort(reason, key)
        else:
            self.exchange.fail(status, reason, key)

    def _keep_private(self, client: UpstreamClient) -> None:
        """Keep a connection that the client has authenticated for its next request, if it is still open."""
        if client.state is IDLE:
            self.exchange.keep_upstream(client.target.pool, client)

    def _abandon(self) -> None:
        client, self.client = self.client, None
        if client is not None:
            client.abandon()

    def _end(self) -> None:
        """Stop the upload and release the target."""
        self.is_over = True
        self._stop_upload()
        self._release()

    def _stop_upload(self) -> None:
        if self.upload is not None:
            self.upload.stop()
            self.upload = None  # it refers to this call: no cycle may be left

    def _release(self) -> None:
        target, self.target = self.target, None
        if target is not None:
            target.release()
