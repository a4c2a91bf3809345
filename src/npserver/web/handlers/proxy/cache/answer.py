"""Answers from a stored response: whole, a part of it, or 304 (RFC 9111 §4, RFC 9110 §13 and §14)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.http.conditional import CONDITIONAL_FIELDS, Outcome, evaluate, is_range_wanted
from npserver.http.dates import parse_date
from npserver.http.ranges import parse_ranges, unsatisfied_range
from npserver.web.handlers.proxy.cache.entry import Entry, StoredHead, open_entry

if TYPE_CHECKING:
    from npserver.http.request import Request
    from npserver.web.exchange import Exchange

#: Fields of a 304 (RFC 9110 §15.4.5), and those that say where it comes from.
_WITH_304 = frozenset(
    b"etag last-modified cache-control expires vary content-location age cache-status "
    b"access-control-allow-origin access-control-allow-credentials access-control-expose-headers".split()
)


def is_not_modified(request: Request, head: StoredHead) -> bool:
    """Whether the client has the response with this head."""
    fields = request.fields
    if fields.keys().isdisjoint(CONDITIONAL_FIELDS):
        return False
    return evaluate(fields, head.etag.removeprefix(b"W/"), _modified_s(head)) is Outcome.NOT_MODIFIED


def respond_not_modified(exchange: Exchange, fields: bytes) -> None:
    """Answer 304 with those of the field lines that belong to it."""
    kept = [line for line in fields.split(b"\r\n") if line.partition(b":")[0].lower() in _WITH_304]
    exchange.respond(304, b"".join([line + b"\r\n" for line in kept]))


def respond_received(exchange: Exchange, head: StoredHead, fields: bytes, body: bytes) -> None:
    """Answer with a response that was just received whole."""
    if head.status == 200 and is_not_modified(exchange.request, head):
        respond_not_modified(exchange, fields)
    elif head.status in (204, 304):
        exchange.start(head.status, fields, None, None)
        exchange.finish()
    else:
        exchange.respond(head.status, fields, body)


def respond_stored(exchange: Exchange, entry: Entry, fields: bytes, now_s: float) -> bool:
    """Answer from a stored response. Return False if its file is gone. `fields`: its lines, with Age."""
    request, head = exchange.request, entry.head
    if head.status == 204:
        exchange.respond(204, fields)
        return True
    status, offset, length = head.status, 0, entry.size
    if status == 200 and not request.is_plain:
        if is_not_modified(request, head):
            respond_not_modified(exchange, fields)
            return True
        wanted = request.fields.get(b"range") if request.method == "GET" else None
        strong = b"" if head.etag.startswith(b"W/") else head.etag
        if wanted is not None and is_range_wanted(request.fields.get(b"if-range"), strong, _modified_s(head), now_s):
            parts = parse_ranges(wanted, entry.size, 1)  # several are answered with the whole, as RFC 9110 §14.2 allows
            if parts is not None and not parts:
                reason = f"no range lies within the {entry.size} bytes of the file, RFC 9110 §14.1.2"
                exchange.fail(416, reason, fields=b"Content-Range: %b\r\n" % unsatisfied_range(entry.size))
                return True
            if parts:
                status, offset, length = 206, parts[0].offset, parts[0].length
                fields += b"Content-Range: %b\r\n" % parts[0].content_range(entry.size)
    if entry.body is not None:
        body = entry.body if length == entry.size else entry.body[offset : offset + length]
        exchange.respond(status, fields, body)
        return True
    file = open_entry(entry)
    if file is None:
        return False
    exchange.send_file(status, fields, file, entry.offset + offset, length)
    return True


def _modified_s(head: StoredHead) -> int | None:
    return parse_date(head.modified.decode("latin-1")) if head.modified else None
