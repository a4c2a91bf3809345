"""A request's head as the rest of the program sees it, made by `http.request_parser` (RFC 9112) or `http.http2_fields`
(RFC 9113).

Requests are shared: the head of a repeated request is remembered. So nothing here may be changed but what is made of
the rest when first asked for: `memo`, `passage` and `known_fields`.
"""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from npserver.http.fields import join_fields

#: Header fields in the order received: names as sent, values stripped of surrounding white space.
Fields = tuple[tuple[bytes, bytes], ...]


class Framing(Enum):
    """How the end of a message's body is known (RFC 9112 §6.3)."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"  # responses only: the body ends with the connection


# By their own names: on Python 3.11 an attribute of an enumeration costs more than the comparison it is for.
NO_BODY, BY_LENGTH, CHUNKED, UNTIL_CLOSE = Framing


class Terms(Struct, eq=False):
    """What a head's signs (`http.fields`) say: the same object for all heads with the same signs and version."""

    has_host: bool
    host: str  # lower case, without port and trailing dot; "" if there is none or nothing in it
    authority: str  # as sent
    framing: Framing
    length: int
    keep_alive: bool
    is_plain: bool  # a GET with them asks for the whole of what is there, and nothing else
    expects_continue: bool
    upgrade: bytes
    accept_encoding: bytes | None


class Block(Struct, eq=False):
    """The field lines of a head, over HTTP/1 without its cookies: the same object for all heads with the same ones."""

    lines: list[bytes]  # as sent, without their CRLF; without pseudo-header fields, but with Host
    signs: tuple[bytes, ...]  # those of them that say something to a server or gateway (`http.fields`)
    terms: Terms
    has_cookie: bool = False
    passage: object = None  # what `web.handlers.proxy.request_head` made of them


class Request(Struct, eq=False):
    """One request's head.

    `path` is canonical (dot segments resolved, `//` merged, unreserved characters decoded, other encodings in upper
    case): what routes match, handlers use and upstreams are sent. `target` is what the client wrote.
    """

    method: str
    target: str
    path: str
    query: str  # without the question mark
    has_query: bool
    minor_version: int  # 0 or 1; 1 for HTTP/2, which can all that HTTP/1.1 can
    host: str  # lower case, without port and trailing dot; "" when HTTP/1.0 gave none
    authority: str  # as sent, with its port
    block: Block
    cookie: bytes  # the field line that is not in the block; empty if there is none
    framing: Framing = NO_BODY
    length: int = 0  # bytes, when framing is LENGTH
    keep_alive: bool = True
    is_repeatable: bool = False  # idempotent method (RFC 9110 §9.2.2)
    is_plain: bool = False  # a GET without body, conditions or upgrade; on HTTP/1.0 without keep-alive
    expects_continue: bool = False
    upgrade: bytes = b""  # the Upgrade field's value when Connection names it, lower case
    accept_encoding: bytes | None = None
    is_http2: bool = False
    known_fields: dict[bytes, bytes] | None = None  # see `fields`
    memo: object = None  # what the handler made of this request, for the next time; the one thing that may be set

    @property
    def lines(self) -> list[bytes]:
        """The field lines as sent, the cookies' last. Made at each call."""
        return [*self.block.lines, self.cookie] if self.cookie else self.block.lines

    @property
    def fields(self) -> dict[bytes, bytes]:
        """The fields: lower-case name to value; repeated ones joined by ", " (cookies by "; "). Made when first asked
        for."""
        fields = self.known_fields
        if fields is None:
            fields = self.known_fields = join_fields(self.lines)
        return fields

    @property
    def protocol(self) -> str:
        """The version spoken, as logs and CGI write it."""
        return "HTTP/2.0" if self.is_http2 else f"HTTP/1.{self.minor_version}"

    @property
    def raw_fields(self) -> Fields:
        """The fields, made at each call."""
        pairs = [line.partition(b":") for line in self.lines]
        return tuple([(name, value.strip(b" \t")) for name, _, value in pairs])
