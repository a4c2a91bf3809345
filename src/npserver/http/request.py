"""The head of a request, as the rest of the program sees it.

Made by `http.request_parser` (RFC 9112) and `http.http2_fields` (RFC 9113). Requests are shared: a head that comes
again yields the same `Request`. Nothing in one may be changed but the caches `HeaderBlock.forwarded`,
`HeaderBlock.variables`, `HeaderBlock.known_fields`, `Request.known_fields` and `Request.handler_cache`.
"""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from npserver.http.fields import join_fields

#: Header fields in the order received: names as sent, values stripped of surrounding white space.
Fields = tuple[tuple[bytes, bytes], ...]


class Framing(Enum):
    """How the length of a message body is determined (RFC 9112 §6.3)."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"  # responses only: the body ends with the connection


# Module-level names, because on Python 3.11 reading an enum's attribute costs more than the comparison with it.
NO_BODY, BY_LENGTH, CHUNKED, UNTIL_CLOSE = Framing


class HeadValues(Struct, eq=False):
    """Values derived from the significant fields; shared by all requests whose significant fields are equal."""

    has_host: bool  # whether there is a Host field
    host: str  # lower case, without port and trailing dot; "" if Host is missing or empty
    authority: str  # Host as sent
    framing: Framing
    length: int  # bytes, when framing is LENGTH
    keep_alive: bool
    is_plain: bool  # no body, conditions, ranges or upgrade: a GET is for the whole representation
    expects_continue: bool
    upgrade: bytes  # as in `Request`
    accept_encoding: bytes | None


class HeaderBlock(Struct, eq=False):
    """The field lines of a head without the Cookie line; shared by all requests whose other lines are equal."""

    lines: list[bytes]  # as sent, without CRLF; for HTTP/2 without pseudo-header fields, but with Host
    significant: tuple[bytes, ...]  # the lines of significant fields (`http.fields`)
    values: HeadValues
    has_cookie: bool = False  # whether `lines` holds Cookie lines all the same, as HTTP/1 with several of them does
    forwarded: object = None  # cache of `web.handlers.proxy.request_head.prepare_fields`
    variables: object = None  # cache of `web.handlers.fastcgi.params`
    #: Fields set by our middleware, as `http.field_names.fold` names them. Lines of other spellings have been removed.
    own: frozenset[bytes] = frozenset()
    known_fields: dict[bytes, bytes] | None = None  # cache of `fields`

    @property
    def fields(self) -> dict[bytes, bytes]:
        """The values of `lines` by lower-case field name, as in `Request.fields`. Made at the first call."""
        fields = self.known_fields
        if fields is None:
            fields = self.known_fields = join_fields(self.lines)
        return fields


class Request(Struct, eq=False):
    """The head of one request.

    `path` is canonical (dot segments resolved, `//` merged, unreserved characters decoded, other encodings in upper
    case); routes match it, handlers use it and upstreams are sent it. `target` is the request target as sent.
    """

    method: str
    target: str
    path: str
    query: str  # without the question mark
    has_query: bool
    minor_version: int  # 0 or 1; 1 for HTTP/2 and HTTP/3 too, which have all features of HTTP/1.1
    host: str  # lower case, without port and trailing dot; "" when an HTTP/1.0 request names none
    authority: str  # as sent, with its port
    block: HeaderBlock
    cookie: bytes  # the Cookie line, if it is not in the block; else empty
    framing: Framing = NO_BODY
    length: int = 0  # bytes, when framing is LENGTH
    keep_alive: bool = True
    is_idempotent: bool = False  # by its method (RFC 9110 §9.2.2)
    is_plain: bool = False  # a GET without body, conditions, ranges or upgrade; on HTTP/1.0 without keep-alive
    expects_continue: bool = False
    upgrade: bytes = b""  # the Upgrade field's value in lower case, if Connection names it
    accept_encoding: bytes | None = None
    is_http2: bool = False
    is_connect: bool = False  # it is an extended CONNECT, see `http.extended_connect`
    is_http3: bool = False
    known_fields: dict[bytes, bytes] | None = None  # cache of `fields`
    handler_cache: object = None  # for the handler's own use: its results for this request

    @property
    def lines(self) -> list[bytes]:
        """The field lines as sent, without CRLF, the Cookie line last. Made at each call."""
        return [*self.block.lines, self.cookie] if self.cookie else self.block.lines

    @property
    def fields(self) -> dict[bytes, bytes]:
        """The values by lower-case field name, repeated fields joined as in `http.fields.join_fields`.

        Made at the first call.
        """
        fields = self.known_fields
        if fields is None:
            fields = self.block.fields
            if self.cookie:
                fields = {**fields, b"cookie": self.cookie.partition(b":")[2].strip(b" \t")}
            self.known_fields = fields
        return fields

    @property
    def protocol(self) -> str:
        """The protocol version as logs and CGI write it: `HTTP/1.1`."""
        if self.is_http2 or self.is_http3:
            return "HTTP/2.0" if self.is_http2 else "HTTP/3.0"
        return f"HTTP/1.{self.minor_version}"

    @property
    def raw_fields(self) -> Fields:
        """The fields in the order received, names as sent. Made at each call."""
        pairs = [line.partition(b":") for line in self.lines]
        return tuple([(name, value.strip(b" \t")) for name, _, value in pairs])
