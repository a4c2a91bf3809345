"""What a downstream HTTP connection waits for; `web.server.http1.connection` keeps the time of each."""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """What the connection waits for; each state has its own timeout."""

    IDLE = "idle"  # the next request; `timeouts.idle`
    HEAD = "head"  # the rest of a head; `timeouts.header`
    BODY = "body"  # the rest of a body; `timeouts.body`
    HANDLER = "handler"  # the handler, which keeps its own time
    WRITING = "writing"  # the client, to take what is sent; `timeouts.write`
    CLOSING = "closing"  # the client, to take the last answer and to stop sending
    SWITCHED = "switched"  # handed over to a tunnel
    CLOSED = "closed"


# By their own names: on Python 3.11 an attribute of an enumeration costs more than the comparison it is for.
IDLE, HEAD, BODY, HANDLER, WRITING, CLOSING, SWITCHED, CLOSED = State
