"""Field lines of requests (RFC 9112 §5): names and values, and which lines a server has to look at.

Most lines of a head are for the handler or for nobody: a server must know that they are well-formed, not what they say.
Those that do say something to a server or gateway are its *signs*. Clients differ in the former from request to request
(cookies) and from one another (user agents), and send few kinds of the latter: what was made of one head's signs is
remembered for the next by `http.request_parser` and `web.handlers.proxy.request_head`. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from npserver.errors import BadRequest, clip
from npserver.http.conditional import CONDITIONAL_FIELDS
from npserver.http.forwarded import is_identity
from npserver.http.memo import Memory

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
CONTROL = "control character, bare CR or bare LF in the request's head"
ONCE = frozenset({b"host", b"content-length", b"content-type", b"authorization", b"expect"})
#: Fields that ask for less than the whole of what is there.
SELECTIVE = CONDITIONAL_FIELDS | {b"range"}
#: Fields between two neighbours (RFC 9110 §7.6.1), and those that every hop writes itself.
NOT_PASSED = frozenset(
    b"connection keep-alive proxy-connection proxy-authorization te transfer-encoding upgrade http2-settings "
    b"host content-length expect".split()
)
#: Whether an octet may stand in no head (RFC 9110 §5.5), by octet: for `translate`.
CONTROLS = bytes([octet != 9 and (octet < 0x20 or octet == 0x7F) for octet in range(256)])
_SAYING = ONCE | SELECTIVE | NOT_PASSED | {b"accept-encoding", b"via"}

_RECALLED_NAME_BYTES = 64
_REMEMBERED_LINES = 1024  # few, as they are looked up for each line of each head: more would not stay in the caches


def check_text(line: bytes) -> None:
    """Raises: BadRequest if a line holds an octet that no head may hold (RFC 9110 §5.5)."""
    if line.translate(CONTROLS).find(1) >= 0:
        raise BadRequest(CONTROL)


def parse_field(line: bytes) -> tuple[bytes, bytes]:
    """Give a field line's name in lower case and its value. Raises: BadRequest."""
    check_text(line)
    name, colon, value = line.partition(b":")
    if not colon and _TOKEN.fullmatch(name):
        raise BadRequest(f"header line without a colon: {clip(line)}")
    return read_field_name(name), value.strip(b" \t")


def join_fields(lines: Iterable[bytes]) -> dict[bytes, bytes]:
    """Give the fields by name, those of the same name joined (RFC 9110 §5.3; cookies: RFC 9113 §8.2.3).

    Raises: BadRequest.
    """
    fields: dict[bytes, bytes] = {}
    for key, value in map(parse_field, lines):
        if key in fields:
            if key in ONCE:
                raise BadRequest(f"two {key.decode()} fields")
            fields[key] += (b"; " if key == b"cookie" else b", ") + value
        else:
            fields[key] = value
    return fields


def find_signs(lines: Iterable[bytes], *, remember: bool = True) -> tuple[bytes, ...]:
    """Check field lines and give those that say something to a server. Raises: BadRequest."""
    # hot: static-varied
    return tuple(filter(None, map(_recall_sign if remember else _find_sign, lines)))


def read_field_name(name: bytes) -> bytes:
    """Give a field's name in lower case. Raises: BadRequest."""
    if not _TOKEN.fullmatch(name):
        raise BadRequest(f"bad field name {clip(name)}")
    return name.lower()


def _is_sign(name: bytes) -> bool:
    key = read_field_name(name)
    return key in _SAYING or is_identity(key)


def _find_sign(line: bytes) -> bytes:
    """Give the line if it says something to a server, else nothing."""
    # hot: static-varied
    colon = line.find(b":")
    if line.translate(CONTROLS).find(1) >= 0 or colon < 0 or colon > _RECALLED_NAME_BYTES:
        name, _ = parse_field(line)  # it tells what is wrong
        return line if _is_sign(name) else b""
    return line if _are_signs[line[:colon]] else b""


_are_signs = Memory(_is_sign, 512)  # by names as they are written
_recall_sign = Memory(_find_sign, _REMEMBERED_LINES).__getitem__
