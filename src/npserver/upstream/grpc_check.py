"""The health check of gRPC: asks `grpc.health.v1.Health/Check` over HTTP/2, and judges the answer.

Imported only where a health check has `"type": "grpc"`. HTTP/2 is ngh2's, which does no I/O; the two messages are a few
bytes of protobuf. The target is not trusted: it may send `MAX_BYTES` in all, in the time of `health_check.timeout`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import ngh2

from npserver.errors import clip, reason_of
from npserver.http.http2_upstream import is_grpc_type

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

MAX_BYTES = 64 << 10  # that a target may send in one check, frames included
MAX_MESSAGE_BYTES = 1024  # of the answer's body; the message of a health service has two bytes
_SERVING = 1
_STATUSES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
#: Of the codes of gRPC, those that have a remedy.
_HINTS = {
    b"5": "the target does not know the service (health_check.service)",
    b"12": "the target has no health service, grpc.health.v1.Health",
    b"16": "the target asks for authentication",
}
_CONFIGURATION = ngh2.Configuration(
    auto_window_update=False,
    max_outbound_ack=100,
    max_reserved_remote_streams=0,
    glitch_rate_limit=(100, 10),
    max_inbound_header_list_size=16 << 10,
    max_inbound_header_count=100,
)


def encode_request(service: str) -> bytes:
    """Return the message HealthCheckRequest with its gRPC prefix."""
    name = service.encode()
    message = b"\x0a" + _varint(len(name)) + name if name else b""
    return b"\0" + len(message).to_bytes(4, "big") + message


def body_fault(body: bytes) -> str:
    """Return why the body of an answer is not a message that says SERVING; "" if it is."""
    if len(body) < 5 or int.from_bytes(body[1:5], "big") != len(body) - 5:
        return f"the body is not one gRPC message: {clip(body)}"
    if body[0]:
        return "the message is compressed, although the check did not offer that"
    try:
        status = _status(body[5:])
    except (IndexError, ValueError):
        return f"the message is not a HealthCheckResponse: {clip(body[5:])}"
    return "" if status == _SERVING else f"status {_STATUSES.get(status, status)} (health_check.service)"


def _varint(number: int) -> bytes:
    data = bytearray()
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    data.append(number)
    return bytes(data)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a varint and the position after it. Raises: IndexError, ValueError."""
    number = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise ValueError("varint too long")


def _status(message: bytes) -> int:
    """Return the field `status` of a HealthCheckResponse. Raises: IndexError, ValueError."""
    status = at = 0
    while at < len(message):
        tag, at = _read_varint(message, at)
        field, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _read_varint(message, at)
            if field == 1:
                status = value
        elif field in (0, 1):
            raise ValueError("not a status")
        elif kind == 2:
            length, at = _read_varint(message, at)
            at += length
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError("bad wire type")
    if at > len(message):
        raise ValueError("cut off")
    return status


class GrpcCheck(asyncio.Protocol):
    """One check on a connection of its own. The result of `done` is the reason why it failed, or an empty text."""

    def __init__(self, loop: asyncio.AbstractEventLoop, service: str, authority: str) -> None:
        self.done: asyncio.Future[str] = loop.create_future()
        self._service = service
        self._authority = authority
        self._http2 = ngh2.Connection(ngh2.Role.CLIENT, _CONFIGURATION)
        self._transport: asyncio.Transport | None = None
        self._received = 0
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request, if the target agreed on HTTP/2."""
        self._transport = cast("asyncio.Transport", transport)
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() != "h2":
            self._complete("the target does not offer HTTP/2 (ALPN h2)")
            return
        self._http2.initiate_connection({ngh2.Setting.ENABLE_PUSH: 0, ngh2.Setting.MAX_HEADER_LIST_SIZE: 16 << 10})
        stream = self._http2.send_request(
            [
                (b":method", b"POST"),
                (b":scheme", b"http" if tls is None else b"https"),
                (b":path", b"/grpc.health.v1.Health/Check"),
                (b":authority", self._authority.encode("latin-1")),
                (b"content-type", b"application/grpc"),
                (b"te", b"trailers"),
                (b"user-agent", b"npserver-health"),
            ]
        )
        self._http2.send_data(stream, encode_request(self._service), end_stream=True)
        self._transport.write(self._http2.data_to_send())

    def data_received(self, data: bytes) -> None:
        """Take bytes of the target: the answer, and frames of the connection, which ngh2 answers."""
        if self.done.done() or self._transport is None:
            return
        self._received += len(data)
        if self._received > MAX_BYTES:
            self._complete(f"the target sent more than {MAX_BYTES >> 10} KiB")
            return
        try:
            self._http2.receive_data(data)
            self._take_events()
            if not self.done.done():
                self._transport.write(self._http2.data_to_send())
                self._take_events()  # that it was ngh2 which ended the connection is an event after its GOAWAY
        except ngh2.NGH2Error as error:
            self._complete(f"not an HTTP/2 connection, or a broken one: {reason_of(error)}")

    def eof_received(self) -> None:
        """Fail the check: the target has closed its side. The transport closes."""
        self._complete("closed without a complete answer")

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the check unless it is complete."""
        self._complete(f"connection lost: {reason_of(exc)}" if exc else "closed without a complete answer")
        self._transport = None

    def _complete(self, reason: str) -> None:
        if not self.done.done():
            self.done.set_result(reason)

    def _take_events(self) -> None:
        for event in self._http2.events():
            self._take(event)

    def _take(self, event: ngh2.Event) -> None:
        if isinstance(event, ngh2.ResponseReceived):
            self._take_head(event.headers, event.end_stream)
        elif isinstance(event, ngh2.DataReceived):
            self._body += event.data
            if len(self._body) > MAX_MESSAGE_BYTES:
                self._complete(f"the answer has more than {MAX_MESSAGE_BYTES} bytes")
            elif event.end_stream:
                self._complete("the answer has no grpc-status")
        elif isinstance(event, ngh2.TrailersReceived):
            self._take_status(event.headers)
        elif isinstance(event, ngh2.StreamReset | ngh2.StreamClosed):
            self._complete(f"the request was reset, HTTP/2 error {event.error_code}")
        elif isinstance(event, ngh2.GoAwayReceived):
            if event.last_stream_id < 1 or event.error_code:
                text = f": {clip(event.debug_data)}" if event.debug_data else ""
                self._complete(f"the target ended the connection, HTTP/2 error {event.error_code}{text}")
        elif isinstance(event, ngh2.ConnectionClosed):
            self._complete(f"not an HTTP/2 connection, or a broken one: HTTP/2 error {event.error_code}")

    def _take_head(self, headers: Sequence[ngh2.Header], is_end: bool) -> None:
        fields = dict(headers)
        status, content_type = fields.get(b":status", b""), fields.get(b"content-type", b"")
        if status != b"200":
            self._complete(f"HTTP status {status.decode('latin-1')} instead of 200")
        elif not is_grpc_type(content_type):
            self._complete(f"not an answer of gRPC: content-type {clip(content_type.decode('latin-1'))}")
        elif is_end:
            self._take_status(headers)

    def _take_status(self, headers: Sequence[ngh2.Header]) -> None:
        fields = dict(headers)
        status = fields.get(b"grpc-status")
        if status is None:
            self._complete("the answer has no grpc-status")
        elif status != b"0":
            message = fields.get(b"grpc-message", b"").decode("latin-1")
            hint = _HINTS.get(status, "")
            parts = [f"grpc-status {clip(status.decode('latin-1'), 10)}", hint, clip(message) if message else ""]
            self._complete(": ".join(filter(None, parts)))
        else:
            self._complete(body_fault(self._body))
