"""The states of a connection to an upstream; `upstream.http1` enforces the timeout of each."""

from __future__ import annotations

from enum import Enum


class ConnectionState(Enum):
    """The phase of the current request, or the reason why there is none."""

    IDLE = "idle"  # no request; in the pool, or just connected
    AWAITING_HEAD = "awaiting head"  # the request is being sent, or the response head is awaited
    READING_BODY = "reading body"
    SWITCHED = "switched"  # handed over to a tunnel after a 101 response
    CLOSED = "closed"


# Module-level names: on Python 3.11 the attribute look-up on an enumeration costs more than the comparison.
IDLE, AWAITING_HEAD, READING_BODY, SWITCHED, CLOSED = ConnectionState
