"""Strict parser of HTTP/1 response heads from upstreams, made ready for forwarding (RFC 9112 §4, RFC 9110 §7.6.1).

Called by `upstream.http1` with one whole head. Input that clients are known to interpret in two ways is refused, not
repaired; the client is then answered with 502.
"""

from __future__ import annotations

from operator import attrgetter

from msgspec import Struct

from npserver.errors import BadResponse, clip
from npserver.http.connection_auth import offers_connection_auth
from npserver.http.memo import Memo, MemoOnSecondUse
from npserver.http.request import BY_LENGTH, CHUNKED, NO_BODY, UNTIL_CLOSE, Framing
from npserver.regex import regex

MAX_HEAD_BYTES = 64 << 10
MAX_FIELDS = 256
TLS_ALERT = b"\x15\x03"  # how a TLS server answers plain HTTP: a record of type alert (RFC 8446 §5.1)
MAX_CACHED_HEAD_BYTES = 4096  # longer heads are not cached

#: How a server of HTTP/2 begins: a frame of type SETTINGS (RFC 9113 §3.4).
_SETTINGS = regex(rb"\x00[\x00-\xff]{2}\x04\x00\x00{4}")
_TOKEN = regex(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_LENGTH = regex(rb"[0-9]{1,18}")
_STATUS_LINE = regex(rb"HTTP/1\.([0-9]) ([1-9][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*)?")
_DATE = regex(rb"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT\r\n")
_LINE_OCTETS = bytes([9, *range(0x20, 0x7F), *range(0x80, 0x100)])

#: Statuses whose responses are not plain: they have no body, or the request may be retried on another target.
_NOT_PLAIN = frozenset({204, 304, *range(500, 600)})
_CONNECTION_OPTIONS = frozenset({b"close", b"keep-alive", b"upgrade"})

# The roles of fields.
_PASS = 0  # forwarded
_REWRITE = 1  # forwarded, but the proxy may have to change the value
_CHALLENGE = 2  # forwarded; it may begin authentication of the connection
_READ = 3  # interpreted here and dropped
_DROP = 4  # hop-by-hop, or replaced by the server's own

_ROLES = {
    b"location": _REWRITE,
    b"content-location": _REWRITE,
    b"refresh": _REWRITE,
    b"set-cookie": _REWRITE,
    b"www-authenticate": _CHALLENGE,
    b"connection": _READ,
    b"content-length": _READ,
    b"transfer-encoding": _READ,
    b"upgrade": _READ,
    b"date": _DROP,
    b"server": _DROP,
    b"keep-alive": _DROP,
    b"proxy-connection": _DROP,
    b"proxy-authenticate": _DROP,
    b"proxy-authentication-info": _DROP,
}


class _Line(Struct, frozen=True, eq=False):
    """A parsed field line."""

    role: int
    forwarded: bytes  # the line with its CRLF if it is forwarded, else empty
    key: bytes  # the name in lower case
    value: bytes


_role_of = attrgetter("role")
_forwarded_of = attrgetter("forwarded")


def _parse_line(line: bytes) -> _Line:
    """Parse a field line (RFC 9112 §5). Raises: BadResponse."""
    if line.translate(None, _LINE_OCTETS):
        raise BadResponse("control character, bare CR or bare LF in the response's head")
    name, colon, value = line.partition(b":")
    if not _TOKEN.fullmatch(name):
        raise BadResponse(f"bad field name {clip(name)}")
    if not colon:
        raise BadResponse(f"header line without a colon: {clip(line)}")
    key = name.lower()
    role = _ROLES.get(key, _PASS)
    return _Line(role, line + b"\r\n" if role <= _CHALLENGE else b"", key, value.strip(b" \t"))


class ResponseHead(Struct, eq=False):
    """The head of an upstream's response. Shared by all responses with the same head, and never changed."""

    status: int
    fields: bytes  # the lines to forward, each ending in CRLF
    framing: Framing  # of a response to any method but HEAD
    length: int | None  # Content-Length, even if no body follows
    keep_alive: bool
    body_bytes: int = -1  # of a response to any method but HEAD; -1: not known in advance
    needs_rewrite: bool = False  # `fields` holds a Location, Content-Location, Refresh or Set-Cookie
    is_plain: bool = False  # has a body, and needs neither rewriting nor, by its status, more than passing on
    binds_connection: bool = False  # offers authentication of the connection (`http.connection_auth`)
    upgrade: bytes = b""  # the Upgrade field's value in lower case, if Connection names it


def read_response_head(head: bytes) -> ResponseHead:
    """Return the parsed head, which must end in an empty line, from the cache if possible. Raises: BadResponse."""
    if len(head) > MAX_CACHED_HEAD_BYTES:
        return parse_response_head(head)
    start = head.find(b"\r\nDate: ")  # cut out: it is not forwarded, and without it equal heads come for longer
    if start > 0 and _dates[head[start + 8 : start + 39]]:
        head = head[:start] + head[start + 37 :]
    return _heads[head]


def check_partial_response_head(data: bytes, checked: int = 0) -> None:
    """Check the beginning of a head, of which the first bytes are `checked`.

    A bare LF does not end a line, though RFC 9112 §2.2 allows that: an application that lets one into the value of a
    field would let its clients write further fields.

    Raises: BadResponse if no acceptable head can begin so.
    """
    if len(data) > MAX_HEAD_BYTES:
        raise BadResponse(f"response head of more than {MAX_HEAD_BYTES} bytes")
    if not b"HTTP/1."[: len(data)].startswith(data[:7]):
        hint = " (TLS: is the target https?)" if data.startswith(TLS_ALERT) else ""
        if _SETTINGS.match(data):
            hint = " (HTTP/2: is the target h2c?)"
        raise BadResponse(f"not an HTTP response: {clip(data[:40])}{hint}")
    if data.count(b"\n", checked) != data.count(b"\r\n", max(checked - 1, 0)):
        raise BadResponse("bare LF in the response's head")


def parse_response_head(head: bytes) -> ResponseHead:
    """Parse a head that ends in an empty line. Raises: BadResponse."""
    # hot: proxy-varied
    status_line, *lines, _, _ = head.split(b"\r\n")
    if len(lines) > MAX_FIELDS:
        raise BadResponse(f"more than {MAX_FIELDS} header fields")
    minor_version, status = _status_lines[status_line]
    parse_line = _parse_line_cached if len(head) <= MAX_CACHED_HEAD_BYTES else _parse_line
    found = [*map(parse_line, lines)]
    read: dict[bytes, bytes] = {}
    needs_rewrite = binds_connection = False
    for line in filter(_role_of, found):  # skips the lines of role _PASS, which are most
        if line.role == _READ:
            _read_field(read, line.key, line.value)
        elif line.role == _REWRITE:
            needs_rewrite = True
        elif line.role == _CHALLENGE and offers_connection_auth(line.value):
            binds_connection = True
    fields = b"".join(map(_forwarded_of, found))
    framing, length = _find_framing(read, status, minor_version)
    keep_alive, upgrade = minor_version == 1, b""
    if b"connection" in read:
        options = {option.strip(b" \t") for option in read[b"connection"].lower().split(b",")}
        if not options <= _CONNECTION_OPTIONS:  # RFC 9110 §7.6.1: it names further hop-by-hop fields
            fields = b"".join([line.forwarded for line in found if line.key not in options])
        keep_alive = keep_alive and b"close" not in options
        if b"upgrade" in options:
            upgrade = read.get(b"upgrade", b"").lower()
    if status == 426 and (protocols := read.get(b"upgrade")):  # it tells the client nothing else (RFC 9110 §15.5.22)
        fields += b"Upgrade: %b\r\nConnection: Upgrade\r\n" % protocols
    body_bytes = 0 if framing is NO_BODY else length if length is not None else -1
    is_plain = not needs_rewrite and not binds_connection and status not in _NOT_PLAIN
    return ResponseHead(
        status, fields, framing, length, keep_alive, body_bytes, needs_rewrite, is_plain, binds_connection, upgrade
    )


def _read_field(read: dict[bytes, bytes], key: bytes, value: bytes) -> None:
    if key in read:
        if key == b"content-length":
            raise BadResponse("two Content-Length fields")
        value = read[key] + b", " + value
    read[key] = value


def _find_framing(read: dict[bytes, bytes], status: int, minor_version: int) -> tuple[Framing, int | None]:
    """Return framing and length of the body (RFC 9112 §6.3). Raises: BadResponse."""
    coding, text = read.get(b"transfer-encoding"), read.get(b"content-length")
    length = None
    if text is not None:
        if not _LENGTH.fullmatch(text):
            raise BadResponse(f"bad Content-Length {clip(text)}")
        length = int(text)
    if status < 200 or status == 204 or status == 304:  # rule 1: never a body, whatever the fields say
        return NO_BODY, length if status == 304 else None
    if coding is not None:  # rule 3
        if length is not None:
            raise BadResponse("both Transfer-Encoding and Content-Length")
        if not minor_version:
            raise BadResponse("Transfer-Encoding in HTTP/1.0")
        if coding.lower() != b"chunked":
            raise BadResponse(f"unknown transfer coding {clip(coding)}")
        return CHUNKED, None
    if length is None:  # rule 8
        return UNTIL_CLOSE, None
    return BY_LENGTH if length else NO_BODY, length


def _read_status_line(line: bytes) -> tuple[int, int]:
    """Return minor version, 0 or 1, and status (RFC 9112 §4). Raises: BadResponse."""
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise BadResponse(f"bad status line {clip(line)}")
    return min(int(match[1]), 1), int(match[2])  # a later minor version is as 1.1 (RFC 9110 §2.5)


_parse_line_cached = Memo(_parse_line, 4096).__getitem__  # lines come again even if whole heads do not
_status_lines = Memo(_read_status_line, 256)
#: Whether these bytes are an IMF-fixdate and the CRLF after it.
_dates: Memo[bytes, bool] = Memo(lambda value: _DATE.fullmatch(value) is not None, 64)
_heads = MemoOnSecondUse(parse_response_head, 1024)
