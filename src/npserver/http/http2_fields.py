"""HTTP/2 messages as lists of fields (RFC 9113 §8): requests read from them, responses and trailers written as them.

The HTTP/2 library has already refused what is malformed by itself: names in upper case, control characters, wrong or
missing pseudo-header fields, connection-specific fields (§8.1.1, §8.2, §8.3). Here a list becomes the same `Request`
that `http.request_parser` makes of a head, with the same limits. Called by `web.server.http2` and `web.server.front`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from npserver.errors import BadRequest, clip
from npserver.http.chunked import is_forbidden_trailer
from npserver.http.extended_connect import read_connect
from npserver.http.fields import SELECTIVE, SINGLETONS, select_significant
from npserver.http.memo import SHORT_HEAD_BYTES, MemoOnSecondUse
from npserver.http.request import Fields, Framing, HeaderBlock, HeadValues, Request
from npserver.http.request_parser import IDEMPOTENT, METHODS, HeadLimits, read_method
from npserver.http.request_target import parse_authority, parse_target
from npserver.regex import regex

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

FIELD_OVERHEAD_BYTES = 32  # added per field in SETTINGS_MAX_HEADER_LIST_SIZE (§6.5.2)
_LINE_OVERHEAD_BYTES = 4  # colon, space and CRLF, so that limits mean the same as for HTTP/1
_MAX_CACHED_BLOCK_BYTES = 2048
_LENGTH = regex(rb"[0-9]{1,18}")
_SCHEMES = frozenset({b"https", b"http"})  # gateways may send their client's scheme
#: Connection-specific fields, which HTTP/2 forbids (§8.2.2).
CONNECTION_FIELDS = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})


def read_request(fields: Fields, has_body: bool, limits: HeadLimits, chance: Callable[[int], bytes]) -> Request:
    """Return the request that a HEADERS frame holds.

    Args:
        fields: the frame's fields, pseudo-header fields first.
        has_body: whether the stream goes on after the frame.
        limits: as for HTTP/1.
        chance: returns random bytes, as many as asked for.

    Raises: BadRequest with the status to answer: 400, 405, 414, 417, 431 or 501.
    """
    # hot: h2-varied
    pseudo: dict[bytes, bytes] = {}
    rest: list[tuple[bytes, bytes]] = []
    cookies: list[bytes] = []
    size = 0
    for field in fields:
        name, value = field
        size += len(name) + len(value) + _LINE_OVERHEAD_BYTES
        if name[:1] == b":":
            pseudo[name] = value
        elif name == b"cookie":
            cookies.append(value)
        else:
            rest.append(field)
    if size > limits.head_bytes:
        raise BadRequest(f"request head of more than {limits.head_bytes} bytes", 431, "limits.max_header_size")
    if len(rest) + bool(cookies) > limits.fields:
        raise BadRequest(f"more than {limits.fields} header fields", 431, "limits.max_headers")
    upgrade = b""
    if b":protocol" in pseudo:  # the HTTP/2 library allows it for CONNECT alone
        read, lines = _read_fields(rest)
        upgrade = read_connect(pseudo[b":protocol"], read, lines, chance(16), has_ended=not has_body)
        method, has_body = "GET", False
        block = _make_block(read, lines, pseudo.get(b":authority"), upgrade, has_body=False)
    else:
        method = METHODS.get(pseudo[b":method"]) or read_method(pseudo[b":method"])
        key = tuple(rest), pseudo.get(b":authority"), has_body
        block = _blocks[key] if size <= SHORT_HEAD_BYTES else _read_block(key)
    if pseudo[b":scheme"] not in _SCHEMES:
        raise BadRequest(f"bad scheme {clip(pseudo[b':scheme'])}", rfc="RFC 9113 §8.3.1")
    if len(pseudo[b":path"]) > limits.url_bytes:
        raise BadRequest(f"request target of more than {limits.url_bytes} bytes", 414, "limits.max_url_size")
    text, path, query, has_query, _authority = parse_target(pseudo[b":path"])
    values = block.values
    return Request(
        method, text, path, query, has_query, 1, values.host, values.authority, block,
        b"cookie: " + b"; ".join(cookies) if cookies else b"",  # RFC 9113 §8.2.3: may be split into several fields
        values.framing, values.length, True, method in IDEMPOTENT, method == "GET" and values.is_plain,
        values.expects_continue, upgrade, values.accept_encoding, is_http2=True, is_connect=bool(upgrade),
    )  # fmt: skip


def _read_fields(fields: Iterable[tuple[bytes, bytes]]) -> tuple[dict[bytes, bytes], list[bytes]]:
    """Return fields other than Cookie by name, and as field lines. Raises: BadRequest for two of a singleton."""
    read: dict[bytes, bytes] = {}
    lines: list[bytes] = []
    for name, value in fields:
        if name in read:
            if name in SINGLETONS:
                raise BadRequest(f"two {name.decode()} fields", rfc="RFC 9110 §5.3")
            read[name] += b", " + value
        else:
            read[name] = value
        lines.append(b"%b: %b" % (name, value))
    return read, lines


def _read_block(of: tuple[Fields, bytes | None, bool]) -> HeaderBlock:
    """Return the block of fields other than Cookie, an authority, and whether a body follows. Raises: BadRequest."""
    fields, authority, has_body = of
    return _make_block(*_read_fields(fields), authority, has_body=has_body)


#: Header blocks: of requests with other paths and cookies, too.
_blocks = MemoOnSecondUse(_read_block, 1024)


def _make_block(
    fields: dict[bytes, bytes], lines: list[bytes], authority: bytes | None, upgrade: bytes = b"", *, has_body: bool
) -> HeaderBlock:
    authority = _find_authority(authority, fields.get(b"host"))
    host = parse_authority(authority)
    if b"host" not in fields:  # needed to forward the request over HTTP/1 (§8.3.1)
        fields[b"host"] = authority
        lines.append(b"host: " + authority)
    framing, length = _find_framing(fields, has_body)
    expects_continue = False
    if b"expect" in fields:
        if fields[b"expect"].lower() != b"100-continue":
            raise BadRequest(f"unknown expectation {clip(fields[b'expect'])}", 417, rfc="RFC 9110 §10.1.1")
        expects_continue = has_body
    values = HeadValues(
        True, host, authority.decode("ascii"), framing, length, True,
        not (has_body or upgrade) and fields.keys().isdisjoint(SELECTIVE), expects_continue, upgrade,
        fields.get(b"accept-encoding"),
    )  # fmt: skip
    return HeaderBlock(lines, select_significant(lines, use_cache=False), values, known_fields=fields)


def _find_authority(authority: bytes | None, host: bytes | None) -> bytes:
    """Return the authority (§8.3.1): `:authority`, or Host if there is none.

    Raises: BadRequest if there is neither, or the two differ.
    """
    if authority is None or host is None:
        found = host if authority is None else authority
        if not found:
            raise BadRequest("neither :authority nor Host", rfc="RFC 9113 §8.3.1")
        return found
    if authority.lower() != host.lower():
        raise BadRequest(f":authority {clip(authority)} but Host {clip(host)}", rfc="RFC 9113 §8.3.1")
    return authority


def _find_framing(fields: dict[bytes, bytes], has_body: bool) -> tuple[Framing, int]:
    """Return framing and length of the body, as it would be forwarded over HTTP/1.

    The HTTP/2 library compares Content-Length with the DATA frames (§8.1.1).

    Raises: BadRequest for a malformed Content-Length.
    """
    text = fields.get(b"content-length")
    if text is not None and not _LENGTH.fullmatch(text):
        raise BadRequest(f"bad Content-Length {clip(text)}", rfc="RFC 9110 §8.6")
    if not has_body:
        return Framing.NONE, 0
    return (Framing.LENGTH, int(text)) if text is not None and int(text) else (Framing.CHUNKED, 0)


def field_list(block: bytes) -> Fields:
    """Return field lines, each ending in CRLF, as an HTTP/2 field list.

    Names are in lower case; connection-specific fields are left out (§8.2.2).
    """
    if len(block) <= _MAX_CACHED_BLOCK_BYTES:
        return _make_list_cached(block)
    return _make_list(block)


def trailer_lines(fields: Fields) -> bytes:
    """Return trailers as field lines, each ending in CRLF, without those not allowed as trailers (RFC 9110 §6.5.1)."""
    return b"".join([b"%b: %b\r\n" % (name, value) for name, value in fields if not is_forbidden_trailer(name)])


def _make_list(block: bytes) -> Fields:
    found = []
    for line in block.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        key = name.lower()
        if colon and key not in CONNECTION_FIELDS:
            found.append((key, value.strip(b" \t")))
    return tuple(found)


_make_list_cached = lru_cache(maxsize=1024)(_make_list)
