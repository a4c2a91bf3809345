"""One request on its way through the proxy: target, connection, body up, answer down, another attempt where allowed.

Made by `serve.proxy.Proxy` for each exchange. It is the sink of the request's body, the sink of the
upstream's answer and the source of the client's, so every piece is passed on as it comes and each side slows the other.
What may be tried again stands in `balance.retry`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.balance.retry import RETRIED_STATUSES, classify, is_stale
from npserver.errors import BadRequest, Phase, UpstreamError
from npserver.http.framing import LAST_CHUNK, chunk
from npserver.http.message import Framing
from npserver.http.response import ResponseHead
from npserver.http.upgrade import switch_fault
from npserver.net.dialer import dial
from npserver.net.sweeper import NEVER
from npserver.net.tasks import spawn
from npserver.serve.http_client import HttpClient
from npserver.serve.tunnel import open_tunnel

if TYPE_CHECKING:
    from npserver.serve.exchange import Exchange
    from npserver.serve.proxy import Proxy
    from npserver.serve.target import Target

CONTINUE_S = 1.0  # how long an upstream may take to say 100 Continue before the body is sent all the same


class ProxyCall:
    """One exchange's way to an upstream and back."""

    # The request
    # tried, attempts     targets that failed, and how many were tried
    # target, client      in use now, None between attempts
    # _unsent             the head, until it can go out with the first piece of the body
    # _replay             the body so far, while the request might be sent again; None: it cannot
    # The response
    # is_started          its head has gone to the client
    # is_over             nothing more is to be done for the exchange

    __slots__ = (
        "_is_chunked", "_is_receiving", "_is_upload_done", "_replay", "_replay_size", "_trailers", "_unsent",
        "attempts", "client", "deadline", "exchange", "is_over", "is_started", "proxy", "target", "tried",
    )  # fmt: skip

    def __init__(self, proxy: Proxy, exchange: Exchange) -> None:
        self.proxy = proxy
        self.exchange = exchange
        self.target: Target | None = None
        self.client: HttpClient | None = None
        self.tried: set[Target] | tuple[()] = ()
        self.attempts = 0
        self.is_started = False
        self.is_over = False
        self.deadline = NEVER
        self._unsent = b""
        request = exchange.request
        self._is_receiving = False
        self._is_upload_done = request.framing is Framing.NONE
        self._is_chunked = request.framing is Framing.CHUNKED
        self._trailers = b""
        self._replay: list[bytes] | None = [] if request.is_repeatable else None
        self._replay_size = 0

    def __repr__(self) -> str:
        return f"<ProxyCall {self.exchange!r} target={self.target!r} attempts={self.attempts}>"

    def start(self) -> None:
        """Begin."""
        self.exchange.watch(self)
        self._try_target()

    # ── attempts ──

    def _try_target(self) -> None:
        target = self.proxy.choose(self.exchange, self.tried)
        if target is None:
            self._fail_without_target()
            return
        self.attempts += 1
        self._use(target)

    def _use(self, target: Target, *, fresh: bool = False) -> None:
        """Send the request to `target`, over an idle connection if there is one."""
        # hot: proxy
        exchange = self.exchange
        self.target = target
        target.acquire()
        exchange.upstream = target.uri
        if not fresh and target.pool.idle:
            client = target.pool.take(careful=self._replay is None)
            if client is not None:
                self._send(client)
                return
        if self._is_receiving:
            exchange.pause_receiving()
        spawn(self._dial(target), f"connecting to {target.uri}")

    async def _dial(self, target: Target) -> None:
        settings, context = self.proxy.settings, self.exchange.context
        try:
            _, client = await dial(
                context,
                target.address,
                lambda: HttpClient(context, target, settings.client),
                timeout_s=settings.connect_timeout_s,
                tls=target.tls,
                server_name=target.server_name,
                key=settings.connect_key,
            )
        except UpstreamError as error:
            target.failed(str(error))
            if not self.is_over:
                self._try_again(error, target, sent=False)
            return
        target.succeeded()
        if self.is_over:
            client.keep()
        else:
            self._send(client)

    def _send(self, client: HttpClient) -> None:
        # hot: proxy
        exchange, settings = self.exchange, self.proxy.settings
        assert self.target is not None
        self.client = client
        request = exchange.request
        try:
            head = self.proxy.compose(exchange, self.target)
        except BadRequest as error:
            self.client = None
            client.keep()
            self._end()
            exchange.fail(400, f"after rewriting: {error}", "rewrite")
            return
        is_head = request.method == "HEAD"
        if request.framing is Framing.NONE:
            client.begin(self, head, settings.client, is_head=is_head, has_body=False)
        elif request.expects_continue and not self._is_receiving:
            client.begin(self, head, settings.client, is_head=is_head, has_body=True)
            self.deadline = exchange.context.loop.time() + CONTINUE_S
            exchange.context.sweeper.watched.add(self)
        else:
            client.begin(self, b"", settings.client, is_head=is_head, has_body=True)
            self._unsent = head
            self._send_body()

    def _try_again(self, error: UpstreamError, target: Target, *, sent: bool) -> None:
        """An attempt has failed without an answer: try another target, or give up."""
        self._release()
        failure = classify(error.phase, timeout=error.timeout)
        if self.proxy.retry.allows(failure, self.attempts, repeatable=self._replay is not None, sent=sent):
            self.tried = {*self.tried, target}
            next_target = self.proxy.choose(self.exchange, self.tried)
            if next_target is not None:
                self.attempts += 1
                self._use(next_target)
                return
            if len(self.proxy.upstream.targets) > 1:
                self._fail_without_target(error)
                return
        self._fail(error)

    # ── the request's body: client to upstream ──

    def _send_body(self) -> None:
        """Send what there is of the body, and from now on what comes."""
        if not self._is_receiving:
            self._is_receiving = True
            self.exchange.receive(self)
        else:
            assert self._replay is not None  # else this attempt would not have been made
            if self._replay:
                self._write(b"".join(self._replay))
            if self._is_upload_done:
                self._write_end()
            else:
                self.exchange.resume_receiving()
        if self._unsent and self.client is not None:
            unsent, self._unsent = self._unsent, b""
            self.client.write(unsent)

    def body_data(self, data: bytes) -> None:
        """A piece of the body."""
        if self._replay is not None:
            self._replay_size += len(data)
            if self._replay_size > self.proxy.settings.buffer_size:
                self._replay = None
            else:
                self._replay.append(data)
        if self.client is not None:
            self._write(data)

    def body_end(self, trailers: bytes) -> None:
        """The body is complete."""
        self._is_upload_done = True
        self._trailers = trailers
        if self.client is not None:
            self._write_end()

    def body_lost(self, reason: str) -> None:
        """The client broke off; the exchange is being ended already."""
        if not self.is_over:
            self._abandon()

    def _write(self, data: bytes) -> None:
        assert self.client is not None
        if self._is_chunked:
            data = chunk(data)
        if self._unsent:
            data = self._unsent + data
            self._unsent = b""
        self.client.write(data)

    def _write_end(self) -> None:
        assert self.client is not None
        data = LAST_CHUNK + self._trailers + b"\r\n" if self._is_chunked else b""
        unsent, self._unsent = self._unsent, b""
        self.client.end(unsent + data)

    def request_pause(self) -> None:
        """The upstream does not keep up."""
        self.exchange.pause_receiving()

    def request_resume(self) -> None:
        """It does again."""
        self.exchange.resume_receiving()

    def expire(self, now: float) -> None:
        """No 100 Continue has come in time: send the body all the same (RFC 9110 §10.1.1)."""
        self._continue()

    def _continue(self) -> None:
        if self.deadline is not NEVER:
            self._stop_waiting()
            if self.client is not None and not self._is_receiving:
                self._send_body()

    def _stop_waiting(self) -> None:
        if self.deadline is not NEVER:
            self.deadline = NEVER
            self.exchange.context.sweeper.watched.discard(self)

    # ── the answer: upstream to client ──

    def response_interim(self, head: ResponseHead) -> None:
        """100 lets the body come; others are passed on."""
        if head.status == 100:
            self._continue()
        else:
            self.exchange.inform(head.status, head.fields)

    def response_whole(self, head: ResponseHead, body: bytes) -> None:
        """The answer, all of it."""
        # hot: proxy
        target, exchange = self.target, self.exchange
        assert target is not None
        self.client = None
        if head.status in RETRIED_STATUSES and self._retries_status(head.status):
            return
        self._end()
        proxy = self.proxy
        fields = head.fields
        if head.needs_rewrite or proxy.sticky is not None:
            fields = proxy.response_fields(exchange, target, head)
        if exchange.request.method == "HEAD" or head.status == 304 or head.status == 204:
            exchange.start(head.status, fields, head.length, None)
            exchange.finish()
        else:
            exchange.respond(head.status, fields, body)

    def response_start(self, head: ResponseHead) -> None:
        """The answer's head."""
        target, client = self.target, self.client
        assert target is not None
        assert client is not None
        if head.status in RETRIED_STATUSES and self._retries_status(head.status):
            return
        self._stop_waiting()
        self.is_started = True
        self._replay = None
        fields = head.fields
        if head.needs_rewrite or self.proxy.sticky is not None:
            fields = self.proxy.response_fields(self.exchange, target, head)
        length = head.length if head.framing is Framing.LENGTH else None
        self.exchange.start(head.status, fields, length, self)

    def response_data(self, data: bytes) -> None:
        """A piece of the answer."""
        self.exchange.write(data)

    def response_end(self, trailers: bytes) -> None:
        """The answer is complete."""
        self.client = None
        self._end()
        self.exchange.finish(trailers)

    def response_switch(self, head: ResponseHead, early: bytes) -> None:
        """101: the connection becomes a tunnel."""
        client, target, exchange = self.client, self.target, self.exchange
        assert client is not None
        assert target is not None
        self.client = None
        fault = switch_fault(exchange.request, self.proxy.asked_upgrade(exchange), head)
        if fault:
            client.transport.abort()
            target.count_failure()
            self._fail(UpstreamError(f"{target.uri}: {fault}", target.uri, Phase.RECEIVE))
            return
        self.is_over = True  # the target stays acquired
        self.target = None
        open_tunnel(
            exchange,
            head.fields + b"Upgrade: " + head.upgrade + b"\r\n",
            client.transport,
            early,
            idle_s=self.proxy.settings.tunnel_idle_s,
            buffer_size=self.proxy.settings.buffer_size,
            on_end=target.release,
        )

    def response_lost(self, error: UpstreamError) -> None:
        """No answer, or not all of it."""
        client, target = self.client, self.target
        assert client is not None
        assert target is not None
        self.client = None
        self._unsent = b""
        self._stop_waiting()
        if self.is_started:
            target.count_failure()
            self._end()
            self.exchange.abort(f"upstream {error}")
            return
        repeatable, answered = self._replay is not None, client.is_answered
        if is_stale(
            reused=error.reused, answered=answered, timeout=error.timeout, repeatable=repeatable, sent=True
        ):
            self._release()
            self._use(target, fresh=True)
            return
        target.count_failure()
        if answered:
            self._fail(error)
        else:
            self._try_again(error, target, sent=True)

    def _retries_status(self, status: int) -> bool:
        """Whether an answer of 502, 503 or 504 is dropped and another target asked."""
        repeatable = self._replay is not None
        if not self.proxy.retry.allows(str(status), self.attempts, repeatable=repeatable, sent=True):
            return False
        assert self.target is not None
        tried = {*self.tried, self.target}
        next_target = self.proxy.choose(self.exchange, tried)
        if next_target is None:
            return False
        self.tried = tried
        self.target.count_failure()
        client, self.client = self.client, None
        if client is not None:
            client.abandon()
        self._stop_waiting()
        self._release()
        self.attempts += 1
        self._use(next_target)
        return True

    # ── the client's side of the answer ──

    def pause(self) -> None:
        """The client does not keep up."""
        if self.client is not None and self.is_started:
            self.client.pause_reading()

    def resume(self) -> None:
        """It does again."""
        if self.client is not None:
            self.client.resume_reading()

    def cancel(self) -> None:
        """The client is gone."""
        if not self.is_over:
            self._abandon()

    # ── the end ──

    def _fail(self, error: UpstreamError) -> None:
        """Tell the client that the upstream did not serve."""
        self._end()
        self.exchange.fail(504 if error.timeout else 502, f"upstream {error}", error.key or "proxy_pass")

    def _fail_without_target(self, error: UpstreamError | None = None) -> None:
        upstream = self.proxy.upstream
        reason = f"no target of upstream {upstream.name} left"
        if error is not None:
            reason += f"; the last: {error}"
        self._end()
        self.exchange.fail(503, reason, "upstreams", b"Retry-After: %d\r\n" % upstream.retry_after_s())

    def _abandon(self) -> None:
        client, self.client = self.client, None
        self._end()
        if client is not None:
            client.abandon()

    def _end(self) -> None:
        """Nothing more is to be done here for the exchange."""
        # hot: proxy
        self.is_over = True
        self._replay = None
        self._unsent = b""
        if self.deadline is not NEVER:
            self._stop_waiting()
        self._release()

    def _release(self) -> None:
        target = self.target
        if target is not None:
            self.target = None
            target.release()
