"""Failures of gRPC calls, told in the terms of gRPC: status 200 with `grpc-status`, for calls over HTTP/2.

A client of gRPC reads `grpc-status`, not the status of HTTP. Where it gets none it makes one of the HTTP status, and
takes most for UNAVAILABLE, after which some clients repeat the call. Called by `web.server.exchange_base`. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.http.http2_upstream import is_grpc_type

if TYPE_CHECKING:
    from npserver.http.request import Request

_UNKNOWN = 2
#: Codes of gRPC by statuses of HTTP. A call that ran out of time or over a limit is not UNAVAILABLE: it may have been
#: processed, or would be refused again.
_CODES = {
    400: 13,  # INTERNAL
    401: 16,  # UNAUTHENTICATED
    403: 7,  # PERMISSION_DENIED
    404: 12,  # UNIMPLEMENTED
    405: 12,
    408: 4,  # DEADLINE_EXCEEDED
    413: 8,  # RESOURCE_EXHAUSTED
    414: 12,
    421: 12,
    429: 8,
    431: 8,
    500: 13,
    501: 12,
    502: 14,  # UNAVAILABLE
    503: 14,
    504: 4,
    507: 8,
}


def is_grpc(request: Request) -> bool:
    """Return whether a request is a gRPC call over HTTP/2."""
    return request.is_http2 and is_grpc_type(request.fields.get(b"content-type", b""))


def failure_fields(status: int) -> bytes:
    """Return the field lines of the answer to a call that has failed with a status of HTTP."""
    code = _CODES.get(status, _UNKNOWN)
    return b"Content-Type: application/grpc\r\ngrpc-status: %d\r\ngrpc-message: HTTP status %d\r\n" % (code, status)
