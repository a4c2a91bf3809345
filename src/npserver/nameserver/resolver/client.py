"""Ask the resolvers of `dns_forward` for names outside our zones: over UDP, then over TCP for truncated answers.

Truncated answers are asked for again over TCP only if the client came over a stream; UDP clients get the truncated
answer. Each query is sent from its own socket with a random port and id, and only a reply of that resolver to that
question is accepted (RFC 5452 §9). Equal questions in progress share one answer.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from npserver.dns.message import codes
from npserver.dns.message.query import Query
from npserver.nameserver.resolver.messages import (
    Cache,
    Key,
    address_to,
    fail,
    is_failure,
    is_reply,
    is_truncated,
    key_of,
    make_query,
)
from npserver.runtime.tasks import spawn

if TYPE_CHECKING:
    from npserver.runtime.context import Context

log = logging.getLogger("npserver.dns")

MAX_PENDING = 1000  # questions in progress; each holds a file descriptor
MAX_SHARING = 100  # clients that share the answer to one question
MAX_STRAYS = 20  # datagrams that do not match the question, after which the attempt fails

Deliver = Callable[[bytes], None]


@dataclass(slots=True)
class _Question:
    """A question in progress and the clients that wait for its answer."""

    query: Query
    key: Key
    by_stream: bool
    waiting: list[tuple[Query, Deliver]] = field(default_factory=list)
    left: list[int] = field(default_factory=list)  # numbers of the resolvers not asked yet
    last: bytes | None = None  # the last failure reply, sent to the clients if no resolver answers


class ResolverClient:
    """Asks the configured resolvers in turn and caches their answers."""

    def __init__(
        self, context: Context, resolvers: tuple[tuple[str, int], ...], *, timeout_s: float, cache_size: int
    ) -> None:
        self._context = context
        self._resolvers = resolvers
        self._timeout_s = timeout_s
        self._cache = Cache(cache_size)
        self._pending: dict[tuple[Key, bool], _Question] = {}
        self._first = 0  # the resolver to ask first; it moves on when that resolver fails

    def __repr__(self) -> str:
        return f"<ResolverClient {len(self._resolvers)} resolvers, {len(self._pending)} pending>"

    def ask(self, query: Query, deliver: Deliver, *, by_stream: bool = False) -> None:
        """Find the answer and call `deliver` with it, now or later; SERVFAIL if no resolver answers."""
        key = key_of(query)
        known = self._cache.get(key, self._context.loop.time())
        if known is not None:
            deliver(address_to(query, known))
            return
        question = self._pending.get((key, by_stream))
        if question is not None and len(question.waiting) < MAX_SHARING:
            question.waiting.append((query, deliver))
            return
        if question is not None or len(self._pending) >= MAX_PENDING:
            deliver(fail(query, codes.SERVFAIL))
            return
        count = len(self._resolvers)
        order = [(self._first + turn) % count for turn in range(count)]
        question = _Question(query, key, by_stream, [(query, deliver)], order)
        self._pending[key, by_stream] = question
        self._try_next(question)

    def _try_next(self, question: _Question) -> None:
        while question.left:
            number = question.left.pop(0)
            sent = make_query(question.query, secrets.randbits(16))
            try:
                _Attempt(self, question, number, sent)
            except OSError as error:
                self.failed(question, number, str(error))
                continue
            return
        self._finish(question, question.last)

    def failed(self, question: _Question, number: int, reason: str) -> None:
        """Handle a resolver that failed: ask the next one first from now on."""
        host, port = self._resolvers[number]
        log.debug("resolver %s port %d failed (dns_forward): %s", host, port, reason)
        if self._first == number:
            self._first = (number + 1) % len(self._resolvers)

    def took(self, question: _Question, number: int, sent: bytes, reply: bytes) -> None:
        """Handle a resolver's reply: deliver it, ask again over TCP, or ask the next resolver."""
        if is_failure(reply) and question.left:
            question.last = reply
            self.failed(question, number, codes.rcode_name(reply[3] & 0xF))
            self._try_next(question)
        elif is_truncated(reply) and question.by_stream:
            spawn(
                self._ask_by_stream(question, number, sent),
                "asking a resolver over TCP",
                lambda error: self._broken_off(question, number),
            )
        else:
            self._finish(question, reply)

    def lost(self, question: _Question, number: int, reason: str) -> None:
        """Handle an attempt without a reply: ask the next resolver."""
        self.failed(question, number, reason)
        self._try_next(question)

    def _broken_off(self, question: _Question, number: int) -> None:
        """Handle an attempt that ended with an unexpected exception."""
        if (question.key, question.by_stream) in self._pending:
            self.lost(question, number, "internal error")

    async def _ask_by_stream(self, question: _Question, number: int, sent: bytes) -> None:
        writer = None
        try:
            async with asyncio.timeout(self._timeout_s):
                reader, writer = await asyncio.open_connection(*self._resolvers[number])
                writer.write(len(sent).to_bytes(2, "big") + sent)
                reply = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        except (OSError, EOFError) as error:
            self.lost(question, number, str(error) or "no answer over TCP in time (dns_forward.timeout)")
            return
        finally:
            if writer is not None:
                writer.close()
        if is_reply(sent, reply):
            self._finish(question, reply)
        else:
            self.lost(question, number, "answer over TCP does not match the question")

    def _finish(self, question: _Question, reply: bytes | None) -> None:
        del self._pending[question.key, question.by_stream]
        if reply is not None:
            self._cache.put(question.key, reply, self._context.loop.time())
        for query, deliver in question.waiting:
            try:
                deliver(fail(query, codes.SERVFAIL) if reply is None else address_to(query, reply))
            except Exception:  # one client's connection must not keep the answer from the others
                log.exception("error while sending a resolver's answer to a client")

    def attempt_settings(self, number: int) -> tuple[asyncio.AbstractEventLoop, tuple[str, int], float]:
        """Return the event loop, the resolver's address and the timeout in seconds for an attempt."""
        return self._context.loop, self._resolvers[number], self._timeout_s


class _Attempt:
    """One query to one resolver over UDP."""

    __slots__ = ("_client", "_loop", "_number", "_question", "_sent", "_sock", "_strays", "_timer")

    def __init__(self, client: ResolverClient, question: _Question, number: int, sent: bytes) -> None:
        loop, address, timeout_s = client.attempt_settings(number)
        self._client = client
        self._question = question
        self._number = number
        self._sent = sent
        self._strays = 0
        self._loop = loop
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self._sock.setblocking(False)
            self._sock.connect(address)  # binds to a random port, and lets only this resolver answer
            self._sock.send(sent)
        except OSError:
            self._sock.close()
            raise
        loop.add_reader(self._sock, self._read)
        self._timer = loop.call_later(timeout_s, self._expire)

    def _read(self) -> None:
        try:
            data = self._sock.recv(65_535)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._close()
            self._client.lost(self._question, self._number, str(error))
            return
        if is_reply(self._sent, data):
            self._close()
            self._client.took(self._question, self._number, self._sent, data)
            return
        self._strays += 1
        if self._strays >= MAX_STRAYS:
            self._close()
            self._client.lost(self._question, self._number, "answers do not match the question")

    def _expire(self) -> None:
        self._close()
        self._client.lost(self._question, self._number, "no answer in time (dns_forward.timeout)")

    def _close(self) -> None:
        self._timer.cancel()
        self._loop.remove_reader(self._sock)
        self._sock.close()
