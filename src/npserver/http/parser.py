"""The head of an HTTP/1 request, checked against the grammar of RFC 9112 and nothing looser.

Called by `serve.http_server` with one whole head. What peers are known to read in two ways is refused, not repaired:
bare CR and LF, NUL, obs-fold, white space around a field name, two lengths, unknown transfer codings, two Hosts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from msgspec import Struct

from npserver.errors import BadRequest, clip
from npserver.http.conditional import CONDITIONAL_FIELDS
from npserver.http.memory import Memory
from npserver.http.message import BY_LENGTH, CHUNKED, NO_BODY, Framing, Request
from npserver.http.target import Target, parse_authority, parse_target

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_TEXT_OCTETS = bytes([9, *range(0x20, 0x7F), *range(0x80, 0x100)])
METHODS = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")}
_VERSIONS = {b"HTTP/1.1": 1, b"HTTP/1.0": 0}
_CONTROL = "control character, bare CR or bare LF in the request's head"
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})  # RFC 9110 §9.2.2
#: Requests with none of these fields have no body, are kept alive, and ask for the whole of what is there.
_SELECTIVE = CONDITIONAL_FIELDS | {b"range"}
_DECISIVE = _SELECTIVE | {b"transfer-encoding", b"content-length", b"connection", b"expect"}
ONCE = frozenset({b"host", b"content-length", b"content-type", b"authorization", b"expect"})


class HeadLimits(Struct, frozen=True):
    """Bounds on a head. The defaults are the seed's."""

    url_bytes: int = 4096
    fields: int = 128
    head_bytes: int = 64 << 10


def parse_field(line: bytes) -> tuple[bytes, bytes]:
    """Give a field line's name in lower case and its value (RFC 9112 §5). Raises: BadRequest."""
    if not line.decode("latin-1").isprintable() and line.translate(None, _TEXT_OCTETS):
        raise BadRequest(_CONTROL)
    name, colon, value = line.partition(b":")
    if not colon and _TOKEN.fullmatch(name):
        raise BadRequest(f"header line without a colon: {clip(line)}")
    return _names[name] if len(name) <= _RECALLED_NAME_BYTES else read_field_name(name), value.strip(b" \t")


def read_field_name(name: bytes) -> bytes:
    """Give a field's name in lower case. Raises: BadRequest."""
    if not _TOKEN.fullmatch(name):
        raise BadRequest(f"bad field name {clip(name)}")
    return name.lower()


_names = Memory(read_field_name, 512)
_fields = Memory(parse_field, 4096)  # most lines come again, whatever else a head holds
_recall_field = _fields.__getitem__
_RECALLED_NAME_BYTES = 64
_RECALLED_BYTES = 2048  # of a head: the lines of longer ones are not kept


def parse_head(head: bytes, limits: HeadLimits) -> Request:
    """Parse a head that ends in an empty line.

    Raises: BadRequest with the status to answer: 400, 405, 414, 417, 431, 501 or 505.
    """
    # hot: static-varied
    if len(head) > limits.head_bytes:
        raise BadRequest(f"request head of {len(head)} bytes", 431, "limits.max_header_size")
    request_line, *lines, _, _ = head.split(b"\r\n")
    if len(lines) > limits.fields:
        raise BadRequest(f"{len(lines)} header fields", 431, "limits.max_headers")
    if len(head) <= _RECALLED_BYTES and len(request_line) <= limits.url_bytes:
        method, target, minor_version = _request_lines[request_line]
        fields = dict(map(_recall_field, lines))
        is_decided = _decisions[tuple(fields)]
    else:
        method, target, minor_version = _parse_request_line(request_line, limits.url_bytes)
        fields = dict(map(parse_field, lines))
        is_decided = not _DECISIVE.isdisjoint(fields)
    if len(fields) != len(lines):
        fields = _join_repeated(map(parse_field, lines))
    host, authority = _find_host(fields, target, minor_version)
    text, path, query, has_query, _ = target
    if minor_version and not is_decided:
        return Request(
            method, text, path, query, has_query, 1, host, authority, lines, fields, NO_BODY, 0, True,
            method in REPEATABLE, method == "GET",
        )  # fmt: skip
    framing, length = _find_framing(fields, minor_version)
    request = Request(
        method, text, path, query, has_query, minor_version, host, authority, lines, fields, framing, length,
        minor_version == 1, method in REPEATABLE,
    )  # fmt: skip
    if b"connection" in fields:
        _read_connection(request, connection_options(fields[b"connection"]))
    if b"expect" in fields and minor_version:
        if fields[b"expect"].lower() != b"100-continue":
            raise BadRequest(f"unknown expectation {clip(fields[b'expect'])}", 417)
        request.expects_continue = framing is not NO_BODY
    request.is_plain = (
        method == "GET" and framing is NO_BODY and not request.upgrade and fields.keys().isdisjoint(_SELECTIVE)
        and (minor_version == 1 or not request.keep_alive)
    )  # fmt: skip
    return request


def _join_repeated(pairs: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Fields by name where some come more than once (RFC 9110 §5.3; cookies: RFC 9113 §8.2.3). Raises: BadRequest."""
    fields: dict[bytes, bytes] = {}
    for key, value in pairs:
        if key in fields:
            if key in ONCE:
                raise BadRequest(f"two {key.decode()} fields")
            value = fields[key] + (b"; " if key == b"cookie" else b", ") + value
        fields[key] = value
    return fields


def check_partial_head(data: bytes, checked: int, limits: HeadLimits) -> None:
    """Raises: BadRequest if `data`, free of faults up to `checked`, can be the beginning of no acceptable head."""
    if _BARE_LF.search(data, checked):
        raise BadRequest("bare LF in the request's head")
    if len(data) > limits.head_bytes:
        raise BadRequest("request head too large", 431, "limits.max_header_size")
    longest_line = limits.url_bytes + 64
    if len(data) > longest_line and data.find(b"\r\n", 0, longest_line) < 0:
        raise BadRequest("request target too long", 414, "limits.max_url_size")


def _parse_request_line(line: bytes, url_bytes: int) -> tuple[str, Target, int]:
    if line.translate(None, _TEXT_OCTETS):
        raise BadRequest(_CONTROL)
    words = line.split(b" ")
    if len(words) != 3 or b"\t" in line:
        raise BadRequest(f"bad request line {clip(line)}")
    method, target, version = words
    if len(target) > url_bytes:
        raise BadRequest(f"request target of {len(target)} bytes", 414, "limits.max_url_size")
    minor_version = _VERSIONS.get(version)
    if minor_version is None:
        if _VERSION.fullmatch(version):
            raise BadRequest(f"HTTP version {clip(version)}", 505)
        raise BadRequest(f"bad HTTP version {clip(version)}")
    name = METHODS.get(method) or read_method(method)
    if target == b"*" and name != "OPTIONS":
        raise BadRequest("request target * without OPTIONS")
    return name, parse_target(target), minor_version


_request_lines: Memory[bytes, tuple[str, Target, int]] = Memory(lambda line: _parse_request_line(line, len(line)), 4096)


def read_method(method: bytes) -> str:
    """Give a method that is not among `METHODS`. Raises: BadRequest if there can be none, or none is served."""
    if not _TOKEN.fullmatch(method) or len(method) > 32:
        raise BadRequest(f"bad method {clip(method)}")
    name = method.decode("ascii")
    if name in ("CONNECT", "TRACE"):
        raise BadRequest(f"method {name} is not served", 405)
    return name


#: Whether fields of certain names say more than what is asked for; clients send them in few combinations.
_decisions: Memory[tuple[bytes, ...], bool] = Memory(lambda names: not _DECISIVE.isdisjoint(names), 512)


def _find_host(fields: dict[bytes, bytes], target: Target, minor_version: int) -> tuple[str, str]:
    """The host that routes look at, and the authority as sent (RFC 9112 §3.2: exactly one Host on HTTP/1.1)."""
    authority = fields.get(b"host")
    if authority is None:
        if minor_version:
            raise BadRequest("no Host field")
        if not target.authority:
            return "", ""
    elif authority:
        found = _authorities[authority]
        if not target.authority:
            return found
    elif not target.authority:
        raise BadRequest("empty Host field")
    return _authorities[target.authority]  # RFC 9112 §3.2.2: it wins


_authorities: Memory[bytes, tuple[str, str]] = Memory(
    lambda authority: (parse_authority(authority), authority.decode("ascii")), 1024
)


def _find_framing(fields: dict[bytes, bytes], minor_version: int) -> tuple[Framing, int]:
    """How the body ends (RFC 9112 §6.3), refusing everything that could be read in two ways (§11.2)."""
    coding = fields.get(b"transfer-encoding")
    length = fields.get(b"content-length")
    if coding is not None:
        if length is not None:
            raise BadRequest("both Transfer-Encoding and Content-Length")
        if not minor_version:
            raise BadRequest("Transfer-Encoding in HTTP/1.0")
        if coding.lower() != b"chunked":
            codings = [one.strip(b" \t") for one in coding.lower().split(b",")]
            if codings.count(b"chunked") > 1 or not all(map(_TOKEN.fullmatch, codings)):
                raise BadRequest(f"bad Transfer-Encoding {clip(coding)}")
            raise BadRequest(f"unknown transfer coding {clip(coding)}", 501)
        return CHUNKED, 0
    if length is None:
        return NO_BODY, 0
    if not _LENGTH.fullmatch(length):
        raise BadRequest(f"bad Content-Length {clip(length)}")
    return (BY_LENGTH, int(length)) if int(length) else (NO_BODY, 0)


@lru_cache(maxsize=256)
def connection_options(value: bytes) -> frozenset[bytes]:
    """Give the options of a Connection field in lower case (RFC 9110 §7.6.1)."""
    return frozenset(option.strip(b" \t") for option in value.lower().split(b","))


def _read_connection(request: Request, options: frozenset[bytes]) -> None:
    """Take what the Connection field says of this connection (RFC 9112 §9.3, RFC 9110 §7.8)."""
    if b"close" in options:
        request.keep_alive = False
    elif b"keep-alive" in options:
        request.keep_alive = True
    if b"upgrade" in options and request.minor_version:
        request.upgrade = request.fields.get(b"upgrade", b"").lower()
