"""Field lines of requests (RFC 9112 §5): names, values, and the few fields that a server interprets.

A server or proxy interprets only a few header fields (Host, Content-Length, Connection, ...). Those are the
*significant* fields; all others are only checked for syntax. Insignificant fields differ from request to request
(cookies) and from client to client (user agents), while significant ones repeat. `http.request_parser` and
`web.handlers.proxy.request_head` therefore cache their results by the significant fields. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from npserver.errors import BadRequest, clip
from npserver.http.conditional import CONDITIONAL_FIELDS
from npserver.http.forwarded import is_identity
from npserver.http.memo import Memo

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
#: Singleton fields (RFC 9110 §5.5): a request with two lines of one is refused.
SINGLETONS = frozenset({b"host", b"content-length", b"content-type", b"authorization", b"expect"})
#: Fields that may select something other than the whole representation.
SELECTIVE = CONDITIONAL_FIELDS | {b"range"}
#: Fields that a proxy does not forward: hop-by-hop fields (RFC 9110 §7.6.1), and those that it writes itself.
NOT_FORWARDED = frozenset(
    b"connection keep-alive proxy-connection proxy-authorization te transfer-encoding upgrade http2-settings "
    b"host content-length expect".split()
)
#: Table for `bytes.translate`: 1 for each octet that is forbidden in a head (RFC 9110 §5.5), else 0.
CONTROLS = bytes([octet != 9 and (octet < 0x20 or octet == 0x7F) for octet in range(256)])
CONTROL = "control character, bare CR or bare LF in the request's head"  # the error message for one of them
_SIGNIFICANT = SINGLETONS | SELECTIVE | NOT_FORWARDED | {b"accept-encoding", b"cdn-loop", b"via"}

_MAX_CACHED_NAME_BYTES = 64
_MAX_CACHED_LINES = 1024  # looked up for each line of each head; a larger table would not fit the CPU caches


def check_text(line: bytes) -> None:
    """Check that a line holds no octet that is forbidden in a head (RFC 9110 §5.5). Raises: BadRequest."""
    if line.translate(CONTROLS).find(1) >= 0:
        raise BadRequest(CONTROL, rfc="RFC 9110 §5.5")


def parse_field(line: bytes) -> tuple[bytes, bytes]:
    """Return a field line's name in lower case and its value without surrounding white space. Raises: BadRequest."""
    check_text(line)
    name, colon, value = line.partition(b":")
    if not colon and _TOKEN.fullmatch(name):
        raise BadRequest(f"header line without a colon: {clip(line)}", rfc="RFC 9112 §5")
    return read_field_name(name), value.strip(b" \t")


def join_fields(lines: Iterable[bytes]) -> dict[bytes, bytes]:
    """Return the values by lower-case name.

    Repeated fields are joined by ", " (RFC 9110 §5.3), cookies by "; " (RFC 9113 §8.2.3).

    Raises: BadRequest for a malformed line, or two lines of a field that may occur only once.
    """
    fields: dict[bytes, bytes] = {}
    for key, value in map(parse_field, lines):
        if key in fields:
            if key in SINGLETONS:
                raise BadRequest(f"two {key.decode()} fields", rfc="RFC 9110 §5.3")
            fields[key] += (b"; " if key == b"cookie" else b", ") + value
        else:
            fields[key] = value
    return fields


def select_significant(lines: Iterable[bytes], *, use_cache: bool = True) -> tuple[bytes, ...]:
    """Check the syntax of field lines and return those of significant fields, unchanged and in order.

    `use_cache`: cache the result of each line by its bytes.

    Raises: BadRequest.
    """
    # hot: static-varied
    return tuple(filter(None, map(_keep_significant_cached if use_cache else _keep_significant, lines)))


def read_field_name(name: bytes) -> bytes:
    """Return a field name in lower case. Raises: BadRequest if it is not a token (RFC 9110 §5.1)."""
    if not _TOKEN.fullmatch(name):
        raise BadRequest(f"bad field name {clip(name)}", rfc="RFC 9110 §5.1")
    return name.lower()


def _is_significant(name: bytes) -> bool:
    key = read_field_name(name)
    return key in _SIGNIFICANT or is_identity(key)


def _keep_significant(line: bytes) -> bytes:
    """Return the line if its field is significant, else an empty one. Raises: BadRequest."""
    # hot: static-varied
    colon = line.find(b":")
    if line.translate(CONTROLS).find(1) >= 0 or colon < 0 or colon > _MAX_CACHED_NAME_BYTES:
        name, _ = parse_field(line)  # raises the error that names the fault
        return line if _is_significant(name) else b""
    return line if _significant_names[line[:colon]] else b""


_significant_names = Memo(_is_significant, 512)  # by name as sent
_keep_significant_cached = Memo(_keep_significant, _MAX_CACHED_LINES).__getitem__
