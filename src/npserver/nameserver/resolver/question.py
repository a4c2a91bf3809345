"""One question to the resolvers of `dns_forward`: whom it was sent to, when it is sent again, what has come back.

It goes to one resolver after the other, each with its own wait, which doubles with each round. A resolver that was
silent is asked again in the next round, one that answered with a failure is not. Its socket stays open meanwhile, so
that a late reply counts too. Each socket has a random port and id, and only a reply of that resolver to that question
is accepted (RFC 5452 §9). Owned by `nameserver.resolver.client`.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from npserver.dns.message import codes
from npserver.errors import reason_of
from npserver.nameserver.resolver.messages import (
    Key,
    is_failure,
    is_header_alone,
    is_truncated,
    make_query,
    match_reply,
    truncate,
)
from npserver.runtime.tasks import spawn

if TYPE_CHECKING:
    from npserver.dns.message.query import Query

MAX_STRAYS = 20  # datagrams from a resolver that do not match the question, after which it is given up

Deliver = Callable[[bytes], None]


class Asker(Protocol):
    """The client of the resolvers, as its questions see it."""

    loop: asyncio.AbstractEventLoop
    resolvers: tuple[tuple[str, int], ...]
    timeout_s: float

    def has_room(self) -> bool:
        """Whether one more socket may be opened."""

    def socket_opened(self) -> None:
        """Count a socket."""

    def socket_closed(self) -> None:
        """Uncount a socket."""

    def failed(self, number: int, reason: str) -> None:
        """Note that a resolver did not answer, or not as it should."""

    def finished(self, question: Question, reply: bytes | None) -> None:
        """Take the reply, or the last failure; None if no resolver has answered."""


class Question:
    """A question in progress and the clients that wait for its answer."""

    __slots__ = (
        "_asker", "_attempts", "_end", "_last", "_order", "_stream", "_timer", "_turn", "_wait_s", "_without_edns",
        "by_stream", "is_done", "key", "query", "waiting",
    )  # fmt: skip

    def __init__(self, asker: Asker, query: Query, key: Key, order: list[int], *, by_stream: bool) -> None:
        self._asker = asker
        self.query = query
        self.key = key
        self.by_stream = by_stream
        self.waiting: list[tuple[Query, Deliver]] = []
        self.is_done = False
        self._order = order  # numbers of the resolvers that have not failed, in the order to ask them
        self._turn = 0  # place in `_order` of the resolver to ask next
        self._wait_s = asker.timeout_s
        self._attempts: dict[int, _Attempt] = {}
        self._without_edns: set[int] = set()  # resolvers that do not understand EDNS (RFC 6891 §7)
        self._last: bytes | None = None  # the last failure, which the clients get if nobody knows better
        self._timer: asyncio.TimerHandle | None = None
        self._stream: asyncio.Task[None] | None = None  # asks over TCP
        self._end: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Question {self.key!r} {len(self.waiting)} waiting>"

    def limit(self, total_s: float) -> None:
        """End the question after `total_s`, whatever state it is in."""
        self._end = self._asker.loop.call_later(total_s, self._run_out)

    def ask_next(self) -> None:
        """Ask the next resolver. After the last one a new round begins, with twice the wait."""
        while self._order and not self.is_done:
            if self._turn >= len(self._order):
                self._turn = 0
                self._wait_s *= 2
                if self._last is not None and self._wait_s > 2 * self._asker.timeout_s:
                    break  # each of the others had two chances to know better
            number = self._order[self._turn]
            try:
                self._send(number)
            except OSError as error:
                self._give_up(number, reason_of(error))
                continue
            self._turn += 1
            self._timer = self._asker.loop.call_later(self._wait_s, self._expire, number)
            return
        self._finish(self._last)

    def took(self, number: int, sent: bytes, data: bytes) -> bool:
        """Handle a datagram of a resolver; return whether it was the resolver's reply."""
        reply = match_reply(sent, data)
        if reply is None and not is_header_alone(sent, data):
            return False
        rcode = data[3] & 0xF
        if is_truncated(data) and self.by_stream:
            self._stop_waiting()
            self._close_attempts()
            self._stream = spawn(
                self._ask_by_stream(number, sent), "asking a resolver over TCP", lambda error: self._broken_off(number)
            )
        elif rcode in (codes.FORMERR, codes.NOTIMP) and self.query.edns is not None and (
            number not in self._without_edns
        ):  # fmt: skip
            self._without_edns.add(number)
            self._attempts.pop(number).close()
            self._ask_again(number)
        elif reply is None and is_truncated(data):
            self._finish(truncate(self.query))
        elif reply is None or is_failure(reply):
            self._last = reply or self._last
            self._fail(number, codes.rcode_name(rcode) if rcode else "a reply that is a header alone")
        else:
            self._finish(reply)
        return True

    def lost(self, number: int, reason: str) -> None:
        """Handle a resolver whose socket failed, or that did not answer the question."""
        if not self.is_done:
            self._fail(number, reason)

    def _send(self, number: int) -> None:
        attempt = self._attempts.get(number)
        if attempt is None:
            if not self._asker.has_room():
                self._close_attempts()  # its place is ours
            sent = make_query(self.query, secrets.randbits(16), with_edns=number not in self._without_edns)
            attempt = self._attempts[number] = _Attempt(self, self._asker, number, sent)
        attempt.send()

    def _ask_again(self, number: int) -> None:
        try:
            self._send(number)
        except OSError as error:
            self._fail(number, reason_of(error))

    def _expire(self, number: int) -> None:
        self._asker.failed(number, "no answer in time (dns_forward.timeout)")
        self.ask_next()

    def _fail(self, number: int, reason: str) -> None:
        """Give a resolver up. If it was the last one asked, ask the next one at once."""
        place = self._order.index(number) if number in self._order else -1
        was_last_asked = place == self._turn - 1
        self._give_up(number, reason)
        if was_last_asked or not self._order:
            self._stop_waiting()
            self.ask_next()

    def _give_up(self, number: int, reason: str) -> None:
        """Ask a resolver no more."""
        self._asker.failed(number, reason)
        attempt = self._attempts.pop(number, None)
        if attempt is not None:
            attempt.close()
        if number in self._order:
            place = self._order.index(number)
            del self._order[place]
            self._turn -= place < self._turn

    # ── over TCP ──

    async def _ask_by_stream(self, number: int, sent: bytes) -> None:
        asker = self._asker
        writer = None
        asker.socket_opened()
        try:
            async with asyncio.timeout(max(self._wait_s, 4 * asker.timeout_s)):
                reader, writer = await asyncio.open_connection(*asker.resolvers[number])
                writer.write(len(sent).to_bytes(2, "big") + sent)
                data = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        except (OSError, EOFError) as error:
            late = "no answer over TCP in time (dns_forward.timeout)"
            self._stream_lost(number, reason_of(error) if str(error) else late)
            return
        finally:
            if writer is not None:
                writer.close()
            asker.socket_closed()
        reply = match_reply(sent, data)
        if reply is not None:
            self._finish(reply)
        else:
            self._stream_lost(number, "answer over TCP does not match the question")

    def _broken_off(self, number: int) -> None:
        """Handle an attempt that ended with an unexpected exception."""
        self._stream_lost(number, "internal error")

    def _stream_lost(self, number: int, reason: str) -> None:
        self._stream = None
        if not self.is_done:
            self._give_up(number, reason)
            self.ask_next()

    # ── the end ──

    def _run_out(self) -> None:
        self._finish(self._last)

    def _finish(self, reply: bytes | None) -> None:
        if self.is_done:
            return
        self.is_done = True
        self._stop_waiting()
        if self._end is not None:
            self._end.cancel()
            self._end = None
        self._close_attempts()
        stream, self._stream = self._stream, None
        if stream is not None and stream is not asyncio.current_task(self._asker.loop):
            stream.cancel()
        self._asker.finished(self, reply)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close_attempts(self) -> None:
        while self._attempts:
            self._attempts.popitem()[1].close()


class _Attempt:
    """The UDP socket on which a question is sent to one resolver, once or several times."""

    __slots__ = ("_asker", "_number", "_question", "_sent", "_sock", "_strays")

    def __init__(self, question: Question, asker: Asker, number: int, sent: bytes) -> None:
        self._question = question
        self._asker = asker
        self._number = number
        self._sent = sent
        self._strays = 0
        address = asker.resolvers[number]
        self._sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_DGRAM)
        asker.socket_opened()
        try:
            self._sock.setblocking(False)
            self._sock.connect(address)  # binds to a random port, and lets only this resolver answer
        except OSError:
            self._sock.close()
            asker.socket_closed()
            raise
        asker.loop.add_reader(self._sock, self._read)

    def send(self) -> None:
        """Send the question. Raises: OSError, such as that of an ICMP message about the datagram before."""
        self._sock.send(self._sent)

    def close(self) -> None:
        """Stop listening to the resolver."""
        self._asker.loop.remove_reader(self._sock)
        self._sock.close()
        self._asker.socket_closed()

    def _read(self) -> None:
        try:
            data = self._sock.recv(65_535)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._question.lost(self._number, reason_of(error))
            return
        if not self._question.took(self._number, self._sent, data):
            self._strays += 1
            if self._strays >= MAX_STRAYS:
                self._question.lost(self._number, "answers do not match the question")
