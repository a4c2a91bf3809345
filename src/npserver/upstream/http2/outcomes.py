"""Ends of requests without a whole response: why a stream was closed, and an answer in a target's place. Pure."""

from __future__ import annotations

from typing import NamedTuple

from npserver.http.response_parser import ResponseHead, read_response_head

NO_ERROR = 0x0
PROTOCOL_ERROR = 0x1
INTERNAL_ERROR = 0x2
REFUSED_STREAM = 0x7
CANCEL = 0x8
ENHANCE_YOUR_CALM = 0xB
HTTP_1_1_REQUIRED = 0xD

#: The error codes of RFC 9113 §7, for the log.
_CODES = (
    "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
    "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
)  # fmt: skip
_TOO_LARGE = b"The header of the request is too large for the application.\n"


class Failure(NamedTuple):
    """Why a request has no whole response."""

    reason: str
    is_unprocessed: bool = False  # the target says that it has not processed the request
    is_leaving: bool = False  # because it ends the connection
    is_bad: bool = False  # its response breaks the rules
    is_unserved: bool = False  # it takes no requests of the kind


#: The target takes no WebSockets: its SETTINGS are without SETTINGS_ENABLE_CONNECT_PROTOCOL.
NO_TUNNELS = Failure("the target takes no WebSockets over HTTP/2 (RFC 8441)", is_unserved=True)


def code_name(code: int) -> str:
    """Return the name of an error code."""
    return _CODES[code] if code < len(_CODES) else f"error {code}"


def failure_of(code: int, *, by_target: bool, is_leaving: bool, is_answered: bool) -> Failure:
    """Return why a stream failed that was closed with an error code.

    Args:
        code: of RST_STREAM, or what the library has closed the stream with.
        by_target: the target has reset it, not our library for a fault in it.
        is_leaving: the target has sent GOAWAY.
        is_answered: the response has begun.
    """
    if not by_target and code == PROTOCOL_ERROR:
        return Failure("the response breaks HTTP/2 (RFC 9113 §8.1.1)", is_bad=True)
    if code == REFUSED_STREAM and not is_answered:
        reason = "the target ends the connection" if is_leaving else "the target refused the stream"
        return Failure(f"{reason}, the request was not processed", is_unprocessed=True, is_leaving=is_leaving)
    if code == HTTP_1_1_REQUIRED:
        return Failure("the target requires HTTP/1.1 for this request")
    if code == NO_ERROR and not by_target:
        return Failure("the stream ended without a response")
    return Failure(f"the target reset the stream: {code_name(code)}")


def head_too_large() -> tuple[ResponseHead, bytes]:
    """Return head and body of a response with status 431 (RFC 6585 §5)."""
    fields = b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n" % len(_TOO_LARGE)
    return read_response_head(b"HTTP/1.1 431 Request Header Fields Too Large\r\n%b\r\n" % fields), _TOO_LARGE
