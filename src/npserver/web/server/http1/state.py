"""The states of an HTTP/1.1 client connection; `web.server.http1.connection` enforces the timeout of each."""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """The thing that the connection waits for; each has its own timeout."""

    IDLE = "idle"  # the next request; `timeouts.idle`
    HEAD = "head"  # the rest of a head; `timeouts.header`
    BODY = "body"  # the rest of a body; `timeouts.body`
    HANDLER = "handler"  # the handler, which has timeouts of its own
    WRITING = "writing"  # the client, to read what is sent; `timeouts.write`
    CLOSING = "closing"  # the client, to read the last answer and to stop sending
    SWITCHED = "switched"  # handed over to a tunnel
    CLOSED = "closed"


# Module-level names: on Python 3.11 the attribute look-up on an enumeration costs more than the comparison.
IDLE, HEAD, BODY, HANDLER, WRITING, CLOSING, SWITCHED, CLOSED = State
