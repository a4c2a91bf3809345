"""HTTP/2 messages to and from upstreams (RFC 9113 §8): the head that the proxy composes, and the response's head.

A request's head is composed as for HTTP/1.1 and becomes a field list here; a response's field list becomes the same
`ResponseHead` that `http.response_parser` makes of a head, by the same parser. The HTTP/2 library has already refused
names in upper case, control characters and connection-specific fields. Called by `upstream.http2`. Pure.
"""

from __future__ import annotations

from msgspec import Struct

from npserver.errors import BadResponse
from npserver.http.extended_connect import KEY, WEBSOCKET
from npserver.http.http2_fields import FIELD_OVERHEAD_BYTES, field_list, trailer_lines
from npserver.http.memo import SHORT_HEAD_BYTES, MemoOnSecondUse, are_short
from npserver.http.request import Fields
from npserver.http.response_parser import MAX_FIELDS, MAX_HEAD_BYTES, ResponseHead, read_response_head

#: What a response's head may have in the count of SETTINGS_MAX_HEADER_LIST_SIZE (§6.5.2).
MAX_HEADER_LIST_BYTES = MAX_HEAD_BYTES + MAX_FIELDS * FIELD_OVERHEAD_BYTES
_LINE_OVERHEAD_BYTES = 4  # colon, space and CRLF, so that the limit means the same as for HTTP/1.1
_GRPC = b"application/grpc"
_UPGRADE = b"\r\nUpgrade: %b\r\n" % WEBSOCKET  # as `web.handlers.proxy.request_head` writes it


class RequestHead(Struct, frozen=True, eq=False):
    """The head of a request as HTTP/2 has it."""

    fields: Fields
    size: int  # in the count of SETTINGS_MAX_HEADER_LIST_SIZE
    is_grpc: bool  # a call of gRPC, whose messages may come at any time
    websocket_key: bytes | None = None  # of a request for a WebSocket, which is an extended CONNECT (RFC 8441)


def read_request_head(head: bytes, scheme: bytes) -> RequestHead:
    """Return the head of an HTTP/1.1 request that we have composed ourselves, with its empty line, for HTTP/2."""
    return _heads[head, scheme]


def _make_request_head(of: tuple[bytes, bytes]) -> RequestHead:
    head, scheme = of
    line, _, block = head.partition(b"\r\n")
    method, target, _ = line.split(b" ")
    authority, fields, is_grpc = b"", [], False
    key = b"" if _UPGRADE in head else None
    for field in field_list(block):
        name, value = field
        if name == b"host":
            authority = value
            continue
        if key is not None and name == KEY:
            key = value
            continue
        if name == b"content-type":
            is_grpc = is_grpc_type(value)
        fields.append(field)
    methods = ((b":method", b"CONNECT"), (b":protocol", WEBSOCKET)) if key is not None else ((b":method", method),)
    whole = (*methods, (b":scheme", scheme), (b":authority", authority), (b":path", target), *fields)
    size = sum([len(name) + len(value) + FIELD_OVERHEAD_BYTES for name, value in whole])
    return RequestHead(whole, size, is_grpc, key)


#: Heads of requests by the bytes composed and the scheme.
_heads = MemoOnSecondUse(_make_request_head, 1024, lambda of: len(of[0]) <= SHORT_HEAD_BYTES)


def is_grpc_type(content_type: bytes) -> bool:
    """Return whether a Content-Type is of gRPC itself, not of gRPC-Web, which is ordinary HTTP."""
    value = content_type.lower()
    return value.startswith(_GRPC) and value[len(_GRPC) : len(_GRPC) + 1] in (b"", b"+", b";", b" ")


def read_response(fields: Fields) -> ResponseHead:
    """Return the head of a response from its field list, `:status` first. Raises: BadResponse."""
    return _responses[fields]


def _make_response(fields: Fields) -> ResponseHead:
    check_size(fields)
    status = fields[0][1]
    if status == b"101":
        raise BadResponse("status 101 over HTTP/2", rfc="RFC 9113 §8.6")
    lines = [b"%b: %b\r\n" % (name, value) for name, value in fields[1:] if name != b"date"]  # Date is not forwarded
    return read_response_head(b"HTTP/1.1 %b\r\n%b\r\n" % (status, b"".join(lines)))


#: Heads of responses by their field lists: a target answers many requests of a second in the same way.
_responses = MemoOnSecondUse(_make_response, 256, are_short)


def read_trailers(fields: Fields) -> bytes:
    """Return the trailers of a response as field lines, each with its CRLF. Raises: BadResponse."""
    check_size(fields)
    return trailer_lines(fields)


def check_size(fields: Fields) -> None:
    """Check a head or trailers against the limits of heads. Raises: BadResponse."""
    if len(fields) > MAX_FIELDS + 1:
        raise BadResponse(f"more than {MAX_FIELDS} header fields")
    if sum([len(name) + len(value) + _LINE_OVERHEAD_BYTES for name, value in fields]) > MAX_HEAD_BYTES:
        raise BadResponse(f"response head of more than {MAX_HEAD_BYTES} bytes")
