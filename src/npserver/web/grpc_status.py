"""Failures of gRPC calls, told in the terms of gRPC: status 200 with `grpc-status`, for calls over HTTP/2.

A client of gRPC reads `grpc-status`, not the status of HTTP. Where it gets none it makes one of the HTTP status, and
takes most for UNAVAILABLE, after which some clients repeat the call. Called by `web.server.exchange_base`.
`web.handlers.proxy.timed_call` reads the codes of targets for traces. Pure.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from npserver.http.http2_upstream import is_grpc_type
from npserver.regex import regex

if TYPE_CHECKING:
    from npserver.http.request import Request

_UNKNOWN = 2
_STATUS = regex(rb"^grpc-status:[ \t]*(\d{1,3})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
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
    return b"Content-Type: application/grpc\r\ngrpc-status: %d\r\ngrpc-message: HTTP status %d\r\n" % (
        code_of(status),
        status,
    )


def code_of(status: int) -> int:
    """Return the code for a call that has failed with a status of HTTP."""
    return _CODES.get(status, _UNKNOWN)


def read_code(fields: bytes) -> int | None:
    """Return the code in the field lines of an answer, or in its trailers; None if they have none."""
    found = _STATUS.search(fields)
    return int(found[1]) if found is not None else None
