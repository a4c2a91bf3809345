"""Heads of responses as CGI scripts write them (RFC 3875 §6), made into those of HTTP. Called by `upstream.fastcgi`.

The lines may end in LF or CRLF, but all in the same way: a script that lets a line end into the value of a field must
not let its clients write further fields.
"""

from __future__ import annotations

from npserver.errors import BadResponse, clip
from npserver.http.memo import MemoOnSecondUse
from npserver.http.response_parser import (
    MAX_CACHED_HEAD_BYTES,
    MAX_HEAD_BYTES,
    ResponseHead,
    parse_response_head,
)
from npserver.regex import regex

_STATUS = regex(rb"([2-5][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*)?")


def find_head_end(data: bytes, scanned: int) -> int:
    """Return the size of a head with its empty line; 0 if its end is not in `data`.

    `scanned`: bytes at the beginning that were searched before.

    Raises: BadResponse if the head is too long.
    """
    first = data.find(b"\n")
    if first < 0:
        end = -1
    elif data[:1] == b"\n" or data[:2] == b"\r\n":  # no fields at all
        return first + 1
    else:
        mark = b"\r\n\r\n" if data[first - 1 : first] == b"\r" else b"\n\n"
        end = data.find(mark, max(scanned - 3, 0))
        if 0 <= end <= MAX_HEAD_BYTES:
            return end + len(mark)
    if end > MAX_HEAD_BYTES or len(data) > MAX_HEAD_BYTES:
        raise BadResponse(f"response head of more than {MAX_HEAD_BYTES} bytes")
    return 0


def read_cgi_head(head: bytes) -> ResponseHead:
    """Return a head that ends in an empty line, parsed; from the cache if possible. Raises: BadResponse."""
    return _heads[head] if len(head) <= MAX_CACHED_HEAD_BYTES else parse_cgi_head(head)


def parse_cgi_head(head: bytes) -> ResponseHead:
    """Parse a head that ends in an empty line.

    Without a Status the response is a 200, with a Location a 302 (RFC 3875 §6.2.3, §6.3.3).

    Raises: BadResponse.
    """
    text = head
    if not head.endswith(b"\r\n"):
        if b"\r" in head:
            raise BadResponse("both LF and CRLF in the response's head")
        text = head.replace(b"\n", b"\r\n")
    status, lines, has_location = b"", [], False
    for line in text.split(b"\r\n")[:-2]:
        name, _, value = line.partition(b":")
        key = name.lower()
        if key == b"status":
            status = _read_status(value.strip(b" \t"), status)
            continue
        if key == b"transfer-encoding":
            raise BadResponse("Transfer-Encoding in the response of a script")
        has_location = has_location or key == b"location"
        lines.append(line)
    status = status or (b"302" if has_location else b"200")
    return parse_response_head(b"\r\n".join([b"HTTP/1.1 " + status, *lines, b"", b""]))


def _read_status(value: bytes, before: bytes) -> bytes:
    match = _STATUS.fullmatch(value)
    if match is None:
        raise BadResponse(f"bad Status {clip(value)}")
    if before:
        raise BadResponse("two Status fields")
    return match[1]


_heads = MemoOnSecondUse(parse_cgi_head, 1024)
