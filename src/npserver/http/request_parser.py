"""Parser of HTTP/1 request heads, strict by the grammar of RFC 9112.

Called by `web.server.front` with one whole head. Input that servers are known to interpret in two ways is refused, not
repaired: bare CR and LF, NUL, obs-fold, white space around a field name, two lengths, unknown transfer codings, two
Hosts.
"""

from __future__ import annotations

import re

from msgspec import Struct

from npserver.errors import BadRequest, clip
from npserver.http.fields import CONTROL, CONTROLS, SELECTIVE, check_text, join_fields, select_significant
from npserver.http.memo import Memo, MemoOnSecondUse, is_short
from npserver.http.request import BY_LENGTH, CHUNKED, NO_BODY, Framing, HeaderBlock, HeadValues, Request
from npserver.http.request_target import RequestTarget, parse_authority, parse_target

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_BARE_LF = re.compile(rb"(?<!\r)\n")
#: Common methods by their bytes; `read_method` checks the others.
METHODS = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")}
_ALLOW = b"Allow: %b\r\n" % b", ".join(METHODS)  # RFC 9110 §15.5.6
_VERSIONS = {b"HTTP/1.%d" % minor: min(minor, 1) for minor in range(10)}  # a later minor is as 1.1 (RFC 9110 §2.5)
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})  # RFC 9110 §9.2.2
_MAX_CACHED_BYTES = 2048  # of a head; nothing of longer ones is cached


class HeadLimits(Struct, frozen=True):
    """Limits on a request head: length of the target in bytes, number of field lines, bytes of the whole head."""

    url_bytes: int = 8192
    fields: int = 128
    head_bytes: int = 64 << 10


def parse_head(head: bytes, limits: HeadLimits) -> Request:
    """Parse a head that ends in an empty line.

    The request line and the header block are cached. The Cookie line is taken out of the block first, because it
    differs most from client to client: without it most blocks have come before.

    Raises: BadRequest with the status to answer: 400, 405, 414, 417, 431, 501 or 505.
    """
    # hot: static-varied
    size, end = len(head), head.find(b"\r\n")
    if size > limits.head_bytes:
        raise BadRequest(f"request head of more than {limits.head_bytes} bytes", 431, "limits.max_header_size")
    cookie = b""
    if size <= _MAX_CACHED_BYTES and end <= limits.url_bytes:
        method, is_idempotent, target, minor_version = _request_lines[head[:end]]
        start = head.find(b"\r\nCookie: ", end)
        if start < 0:
            block = _blocks[minor_version][head[end:]]
        else:
            after = head.find(b"\r\n", start + 2)
            cookie = head[start + 2 : after]
            block = _blocks[minor_version][head[end:start] + head[after:]]
            if block.has_cookie:  # several Cookie lines: their order counts
                cookie = b""
                block = _read_block(head[end:], minor_version)
            elif cookie.translate(CONTROLS).find(1) >= 0:
                raise BadRequest(CONTROL, rfc="RFC 9110 §5.5")
    else:
        if head.count(b"\r\n") > limits.fields + 2:
            raise BadRequest(f"more than {limits.fields} header fields", 431, "limits.max_headers")
        method, is_idempotent, target, minor_version = _parse_request_line(head[:end], limits.url_bytes)
        block = _read_block(head[end:], minor_version, use_cache=False)
    if len(block.lines) >= limits.fields and len(block.lines) + bool(cookie) > limits.fields:
        raise BadRequest(f"more than {limits.fields} header fields", 431, "limits.max_headers")
    values = block.values
    text, path, query, has_query, authority = target
    if authority or not values.host:
        host, named = _find_host(values, authority)
    else:
        host, named = values.host, values.authority
    return Request(
        method, text, path, query, has_query, minor_version, host, named, block, cookie, values.framing, values.length,
        values.keep_alive, is_idempotent, method == "GET" and values.is_plain, values.expects_continue, values.upgrade,
        values.accept_encoding,
    )  # fmt: skip


def _read_block(text: bytes, minor_version: int, *, use_cache: bool = True) -> HeaderBlock:
    """Parse a header block: field lines that have a CRLF before each, and the empty line at the end.

    `use_cache`: take the parts from caches, and store them there.

    Raises: BadRequest.
    """
    lines = text[2:-4].split(b"\r\n") if len(text) > len(b"\r\n\r\n") else []
    significant = select_significant(lines, use_cache=use_cache)
    values = _values[minor_version][significant] if use_cache else _read_values(significant, minor_version)
    return HeaderBlock(lines, significant, values, any(line[:7].lower() == b"cookie:" for line in lines))


#: Header blocks by minor version, then by text.
_blocks: tuple[MemoOnSecondUse[bytes, HeaderBlock], ...] = (
    MemoOnSecondUse(lambda text: _read_block(text, 0), 1024),
    MemoOnSecondUse(lambda text: _read_block(text, 1), 1024),
)


def check_partial_head(data: bytes, checked: int, limits: HeadLimits) -> None:
    """Check the beginning of a head, of which the first `checked` bytes have passed before.

    Raises: BadRequest if no acceptable head can begin so.
    """
    if _BARE_LF.search(data, checked):
        raise BadRequest("bare LF in the request's head", rfc="RFC 9112 §2.2")
    if len(data) > limits.head_bytes:
        raise BadRequest(f"request head of more than {limits.head_bytes} bytes", 431, "limits.max_header_size")
    longest_line = limits.url_bytes + 64
    if len(data) > longest_line and data.find(b"\r\n", 0, longest_line) < 0:
        raise BadRequest(f"request target of more than {limits.url_bytes} bytes", 414, "limits.max_url_size")


def first_fault(head: bytes, limits: HeadLimits, error: BadRequest) -> BadRequest:
    """Return the error to report for a complete head refused with `error`.

    That is the one that would have been found first if the head had come octet by octet.
    """
    try:
        check_partial_head(head, 0, limits)
    except BadRequest as earlier:
        return earlier
    return error


def _parse_request_line(line: bytes, url_bytes: int) -> tuple[str, bool, RequestTarget, int]:
    """Parse a request line. Return the method, whether it is idempotent, the target and the minor version."""
    check_text(line)
    words = line.split(b" ")
    if len(words) != 3 or b"\t" in line:
        raise BadRequest(f"bad request line {clip(line)}", rfc="RFC 9112 §3")
    method, target, version = words
    if len(target) > url_bytes:
        raise BadRequest(f"request target of more than {url_bytes} bytes", 414, "limits.max_url_size")
    minor_version = _VERSIONS.get(version)
    if minor_version is None:
        if _VERSION.fullmatch(version):
            raise BadRequest(f"HTTP version {clip(version)} is not supported", 505, rfc="RFC 9110 §15.6.6")
        raise BadRequest(f"bad HTTP version {clip(version)}", rfc="RFC 9112 §2.3")
    name = METHODS.get(method) or read_method(method)
    if target == b"*" and name != "OPTIONS":
        raise BadRequest("request target * is for OPTIONS only", rfc="RFC 9112 §3.2.4")
    return name, name in IDEMPOTENT, parse_target(target), minor_version


_request_lines: Memo[bytes, tuple[str, bool, RequestTarget, int]] = Memo(
    lambda line: _parse_request_line(line, len(line)), 4096
)


def read_method(method: bytes) -> str:
    """Return a method that is not in `METHODS`. Raises: BadRequest if it is malformed (400) or not supported (405)."""
    if not _TOKEN.fullmatch(method) or len(method) > 32:
        raise BadRequest(f"bad method {clip(method)}", rfc="RFC 9112 §3.1")
    name = method.decode("ascii")
    if name in ("CONNECT", "TRACE"):
        raise BadRequest(
            f"method {name} is not supported",
            405,
            rfc="RFC 9110 §9.3.6" if name == "CONNECT" else "RFC 9110 §9.3.8",
            fields=_ALLOW,
        )
    return name


def _read_values(significant: tuple[bytes, ...], minor_version: int) -> HeadValues:
    """Derive the values of significant field lines. Raises: BadRequest."""
    fields = join_fields(significant)
    authority = fields.get(b"host")
    if authority is None and minor_version:
        raise BadRequest("no Host field", rfc="RFC 9112 §3.2")
    framing, length = _find_framing(fields, minor_version)
    keep_alive, upgrade = minor_version == 1, b""
    if b"connection" in fields:
        options = connection_options(fields[b"connection"])
        if b"close" in options:
            keep_alive = False
        elif b"keep-alive" in options:
            keep_alive = True
        if b"upgrade" in options and minor_version:
            upgrade = fields.get(b"upgrade", b"").lower()
    expects_continue = False
    if b"expect" in fields and minor_version:
        if fields[b"expect"].lower() != b"100-continue":
            raise BadRequest(f"unknown expectation {clip(fields[b'expect'])}", 417, rfc="RFC 9110 §10.1.1")
        expects_continue = framing is not NO_BODY
    is_plain = (
        framing is NO_BODY and not upgrade and fields.keys().isdisjoint(SELECTIVE)
        and (minor_version == 1 or not keep_alive)
    )  # fmt: skip
    host = parse_authority(authority) if authority else ""
    return HeadValues(
        authority is not None, host, authority.decode("ascii") if authority else "", framing, length, keep_alive,
        is_plain, expects_continue, upgrade, fields.get(b"accept-encoding"),
    )  # fmt: skip


#: Values by minor version, then by significant field lines.
_values: tuple[Memo[tuple[bytes, ...], HeadValues], ...] = (
    Memo(lambda significant: _read_values(significant, 0), 1024),
    Memo(lambda significant: _read_values(significant, 1), 1024),
)


def _find_host(values: HeadValues, authority: bytes) -> tuple[str, str]:
    """Return host and authority of a request whose target is in absolute form, or whose Host is missing or empty.

    Raises: BadRequest (RFC 9112 §3.2).
    """
    if authority:
        return parse_authority(authority), authority.decode("ascii")  # RFC 9112 §3.2.2: it takes precedence over Host
    if values.has_host:
        raise BadRequest("empty Host field", rfc="RFC 9112 §3.2")
    return "", ""


def _find_framing(fields: dict[bytes, bytes], minor_version: int) -> tuple[Framing, int]:
    """Return framing and length of the body (RFC 9112 §6.3).

    Raises: BadRequest for everything that could be interpreted in two ways (§11.2).
    """
    coding = fields.get(b"transfer-encoding")
    length = fields.get(b"content-length")
    if coding is not None:
        if length is not None:
            raise BadRequest("both Transfer-Encoding and Content-Length", rfc="RFC 9112 §6.1")
        if not minor_version:
            raise BadRequest("Transfer-Encoding in HTTP/1.0", rfc="RFC 9112 §6.1")
        if coding.lower() != b"chunked":
            codings = [one.strip(b" \t") for one in coding.lower().split(b",")]
            if codings.count(b"chunked") > 1 or codings[-1] != b"chunked" or not all(map(_TOKEN.fullmatch, codings)):
                raise BadRequest(
                    f"bad Transfer-Encoding {clip(coding)}", rfc="RFC 9112 §6.3"
                )  # without chunked at its end it has none
            raise BadRequest(f"unknown transfer coding {clip(coding)}", 501, rfc="RFC 9112 §6.1")
        return CHUNKED, 0
    if length is None:
        return NO_BODY, 0
    if not _LENGTH.fullmatch(length):
        raise BadRequest(f"bad Content-Length {clip(length)}", rfc="RFC 9110 §8.6")
    return (BY_LENGTH, int(length)) if int(length) else (NO_BODY, 0)


def connection_options(value: bytes) -> frozenset[bytes]:
    """Return the options of a Connection field in lower case (RFC 9110 §7.6.1)."""
    return _connection_options[value]


_connection_options: Memo[bytes, frozenset[bytes]] = Memo(
    lambda value: frozenset([option.strip(b" \t") for option in value.lower().split(b",")]), 256, is_short
)
