"""EDNS options of replies for clients that ask for them: the server's identifier, and how long a connection may idle.

NSID (RFC 5001) and edns-tcp-keepalive (RFC 7828). One object per front; its query processors add the options.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct

from npserver.dns.message.edns import (
    ASKS_KEEPALIVE,
    ASKS_NSID,
    KEEPALIVE_OPTION,
    NSID_OPTION,
    WRONG_KEEPALIVE,
    add_option,
    make_option,
)
from npserver.dns.message.padding import with_options

if TYPE_CHECKING:
    from npserver.dns.message.query import Query

MAX_NSID_BYTES = 255
_MAX_UNITS = 0xFFFF  # of 100 ms


class ReplyOptions(Struct):
    """The options of one front, in wire form; empty if it has them not."""

    nsid: bytes = b""
    keepalive: bytes = b""

    def set_nsid(self, identifier: str) -> None:
        """Set the identifier of the server."""
        self.nsid = make_option(NSID_OPTION, identifier.encode())

    def set_idle_timeout(self, seconds: float) -> None:
        """Set the time after which a connection is closed if it is idle (RFC 7828 §3.1)."""
        units = min(_MAX_UNITS, int(seconds * 10))
        self.keepalive = make_option(KEEPALIVE_OPTION, units.to_bytes(2, "big"))

    def is_wrong(self, asked: int) -> bool:
        """Whether a query has a keepalive option with data, over a stream (RFC 7828 §3.2.1)."""
        return bool(asked & WRONG_KEEPALIVE and self.keepalive)

    def chosen(self, asked: int) -> bytes:
        """Return the options that a query asks for."""
        nsid = self.nsid if asked & ASKS_NSID else b""
        return nsid + (self.keepalive if asked & ASKS_KEEPALIVE else b"")

    def add(self, opt: bytes, asked: int) -> bytes:
        """Return the OPT record of a reply with the options that the query asks for."""
        return add_option(opt, chosen) if (chosen := self.chosen(asked)) else opt

    def adding(self, query: Query, deliver: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """Return what delivers the reply of a resolver with the options that the query asks for."""
        chosen = self.chosen(query.edns[4]) if query.edns is not None else b""
        return (lambda reply: deliver(with_options(reply, chosen))) if chosen else deliver
