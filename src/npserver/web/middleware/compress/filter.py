"""Compresses the answers of an upstream on their way to clients that accept it.

Bodies are compressed as they pass, piece by piece. What is left in the coder is sent as soon as the upstream pauses:
the event loop has looked for more twice and found nothing. Each piece of a `text/event-stream` is sent at once. The
client's pace is the upstream's as without compression: what a filter returns is never more than a piece.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from npserver.http.memo import Memo
from npserver.http.negotiation import IDENTITY, rank_codings
from npserver.web.exchange import Middleware, ResponseFilter
from npserver.web.middleware.compress.coders import coder_maker
from npserver.web.middleware.compress.heads import forbids_transforming, weakened

if TYPE_CHECKING:
    from npserver.web.exchange import Exchange, ResponseStart
    from npserver.web.middleware.compress.coders import Coder
    from npserver.web.middleware.compress.heads import Heads

_MAX_ACCEPT_BYTES = 256  # longer values of Accept-Encoding are not cached
_MAX_ACCEPTS = 512
_LEFT_STATUSES = frozenset({204, 205, 206})


class Counters(Struct, frozen=True):
    """The slots of the scoreboard that are counted in."""

    responses: int
    read_bytes: int
    sent_bytes: int


class CompressedResponses(Middleware):
    """Compresses the responses of a rule.

    Args:
        heads: decides by the field lines.
        codings: the content codings offered, in the order of preference.
        min_bytes: answers that are known to be shorter are not compressed.
    """

    def __init__(self, heads: Heads, codings: tuple[str, ...], min_bytes: int, counters: Counters) -> None:
        self.heads = heads
        self.counters = counters
        self.min_bytes = max(min_bytes, 1)
        self._codings = codings
        self._accepted: Memo[bytes, str] = Memo(self._choose, _MAX_ACCEPTS)

    def response(self, exchange: Exchange) -> CompressionFilter:
        """Return the filter of one response."""
        return CompressionFilter(self, exchange)

    def coding_for(self, accept_encoding: bytes | None) -> str:
        """Return the coding that the client prefers; `identity` for none."""
        if not accept_encoding:
            return IDENTITY
        if len(accept_encoding) > _MAX_ACCEPT_BYTES:
            return self._choose(accept_encoding)
        return self._accepted[accept_encoding]

    def _choose(self, accept_encoding: bytes) -> str:
        ranked = rank_codings(accept_encoding, self._codings)
        return ranked[0] if ranked else IDENTITY


class CompressionFilter(ResponseFilter):
    """The compression of one response."""

    # _coder          None before the start and after the end
    # _taken          pieces compressed so far
    # _is_scheduled   `_look` is to be called, and flushes if no piece has come since

    __slots__ = ("_coder", "_exchange", "_flushes_each", "_is_scheduled", "_settings", "_taken")

    def __init__(self, settings: CompressedResponses, exchange: Exchange) -> None:
        self._settings = settings
        self._exchange = exchange
        self._coder: Coder | None = None
        self._flushes_each = self._is_scheduled = False
        self._taken = 0

    def start(self, head: ResponseStart) -> bool:
        """Decide whether the response is compressed, and change its head."""
        settings, request = self._settings, self._exchange.request
        if head.status == 304:
            head.fields = weakened(head.fields, request.fields.get(b"if-none-match"))
            return False
        if head.status in _LEFT_STATUSES or (head.length is not None and head.length < settings.min_bytes):
            return False
        decided = settings.heads.of(head.fields)
        if not decided.is_compressible:
            return False
        coding = settings.coding_for(request.accept_encoding)
        if coding == IDENTITY or forbids_transforming(request.fields.get(b"cache-control", b"")):
            head.fields = decided.plain
            return False
        head.fields = b"%bContent-Encoding: %b\r\n" % (decided.coded, coding.encode("ascii"))
        head.length = None
        if not head.has_body:
            return False
        self._coder = coder_maker(coding)()
        self._flushes_each = decided.is_event_stream
        self._exchange.context.row.slots[settings.counters.responses] += 1
        return True

    def data(self, data: bytes) -> bytes:
        """Compress a piece."""
        coder = self._coder
        if coder is None:
            return b""
        slots, counters = self._exchange.context.row.slots, self._settings.counters
        slots[counters.read_bytes] += len(data)
        passed = coder.compress(data)
        if self._flushes_each:
            passed += coder.flush()
        else:
            self._taken += 1
            if not self._is_scheduled:
                self._schedule()
        slots[counters.sent_bytes] += len(passed)
        return passed

    def flush(self) -> bytes:
        """Return what the coder has kept."""
        return self._counted(self._coder.flush()) if self._coder is not None else b""

    def end(self, trailers: bytes) -> tuple[bytes, bytes]:
        """Return the end of the compressed body."""
        coder, self._coder = self._coder, None
        return self._counted(coder.finish()) if coder is not None else b"", trailers

    def cancel(self) -> None:
        """Compress no more."""
        self._coder = None

    def _counted(self, data: bytes) -> bytes:
        self._exchange.context.row.slots[self._settings.counters.sent_bytes] += len(data)
        return data

    def _schedule(self) -> None:
        """Look again after the next round of the event loop, which reads what the upstream has sent by then."""
        self._is_scheduled = True
        loop, taken = self._exchange.context.loop, self._taken
        loop.call_soon(lambda: loop.call_soon(self._look, taken))

    def _look(self, taken: int) -> None:
        self._is_scheduled = False
        if self._coder is None:
            return
        if self._taken == taken:
            self._exchange.flush()
        else:
            self._schedule()
