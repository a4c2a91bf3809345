"""Request targets (RFC 9112 §3.2) and their canonical paths (RFC 3986 §6.2.2).

In a canonical path unreserved characters are decoded, dot segments resolved and slashes merged; other percent
encodings are in upper case. Routes match the same path that handlers use and upstreams are sent, so a later reader
cannot interpret it differently. Targets that servers are known to interpret in two ways (`..;`, `..%2f`, backslashes,
NUL) are refused.
"""

from __future__ import annotations

import re

from npserver.errors import BadRequest, clip

_PLAIN = re.compile(rb"(?:/[A-Za-z0-9\-_~!$&'()*+,=:@][A-Za-z0-9\-._~!$&'()*+,=:@]*)*/?")  # matches in linear time
_SLASHES = re.compile("//+")
_ESCAPE = re.compile(rb"%(..?)?", re.DOTALL)
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_NOT_ASCII = re.compile(rb"[\x80-\xff]")
_HIDDEN_SLASH = re.compile(r"%2F|%5C")
_ABSOLUTE = re.compile(rb"(https?)://([^/?#]*)([^#]*)", re.IGNORECASE)
_AUTHORITY = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*)(?::(\d{0,5}))?")
_LONGEST_AUTHORITY = 512  # a name has at most 253 characters (RFC 1035 §3.1); the rest is for escapes and a port


#: The parts of a request target: its text as sent, the canonical path or `*`, the query, whether there is a `?`, and
#: the authority of the absolute form, else b"". A plain tuple, because it is unpacked for each request.
RequestTarget = tuple[str, str, str, bool, bytes]


def parse_target(target: bytes) -> RequestTarget:
    """Parse a target in origin form, absolute form or asterisk form (RFC 9112 §3.2). Raises: BadRequest."""
    authority = b""
    text = target.decode("latin-1")
    if target[:1] != b"/":
        if target == b"*":
            return text, "*", "", False, b""
        match = _ABSOLUTE.fullmatch(target)
        if match is None or not match[2]:
            raise BadRequest(f"request target {clip(target)} is neither a path nor an http(s) URI", rfc="RFC 9112 §3.2")
        authority, target = match[2], match[3]
        if target[:1] != b"/":
            target = b"/" + target
    path, mark, query = target.partition(b"?")
    if b"#" in target:
        raise BadRequest("fragment in the request target", rfc="RFC 9112 §3.2")
    return text, canonical_path(path), _NOT_ASCII.sub(_encode, query).decode("ascii"), bool(mark), authority


def path_with_slashes(target: str, path: str) -> str:
    """Return the path of a target in origin form as `canonical_path` does, but with repeated slashes kept.

    `path`: the canonical path. It is returned where both would be taken for different paths (`/a//../b`), so that what
    is forwarded is what was routed. Repeated slashes at the start are merged: `//name` refers to another host.
    """
    sent = target.partition("?")[0]
    if "//" not in sent or sent[:1] != "/":
        return path
    kept = "/" + canonical_path(sent.encode("latin-1"), merge_slashes=False).lstrip("/")
    return kept if _SLASHES.sub("/", kept) == path else path


def canonical_path(path: bytes, *, merge_slashes: bool = True) -> str:
    """Return the canonical form of an absolute path. Raises: BadRequest if servers would disagree about it."""
    if _PLAIN.fullmatch(path):
        return path.decode("ascii")
    if b"\\" in path:
        raise BadRequest("backslash in the path", rfc="RFC 3986 §3.3")
    text = _NOT_ASCII.sub(_encode, _ESCAPE.sub(_normalize_escape, path)).decode("ascii")
    kept: list[str] = []
    segments = text.split("/")[1:]
    for index, segment in enumerate(segments):
        bare = segment.partition(";")[0]
        if bare != segment and bare in (".", ".."):
            raise BadRequest("dot segment with parameters in the path", rfc="RFC 3986 §7.3")
        if segment == "..":
            if not kept:
                raise BadRequest("dot segments lead above the root of the path", rfc="RFC 3986 §5.2.4")
            kept.pop()
        elif segment not in ("", "."):
            if "%" in segment and any(part.partition(";")[0] == ".." for part in _HIDDEN_SLASH.split(segment)):
                raise BadRequest("encoded dot segment in the path", rfc="RFC 3986 §7.3")
            kept.append(segment)
        elif not segment and not merge_slashes and index < len(segments) - 1:
            kept.append(segment)
    is_directory = segments[-1] in ("", ".", "..")
    return "/" + "/".join(kept) + ("/" if is_directory and kept else "")


def parse_authority(authority: bytes) -> str:
    """Return the host of an authority in lower case, without port and trailing dot.

    Raises: BadRequest if it is malformed or has no host (RFC 9110 §4.2.1).
    """
    match = _AUTHORITY.fullmatch(authority) if len(authority) <= _LONGEST_AUTHORITY else None
    if match is None or not match[1] or int(match[2] or 0) > 65535:
        raise BadRequest(f"bad host {clip(authority)}", rfc="RFC 9110 §4.2.1")
    host = match[1].decode("ascii").lower().removesuffix(".")
    if not host:
        raise BadRequest(f"bad host {clip(authority)}", rfc="RFC 9110 §4.2.1")
    return host


def _encode(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % match[0][0]


def _normalize_escape(match: re.Match[bytes]) -> bytes:
    try:
        if len(match[1]) != 2 or not match[1].isalnum():
            raise ValueError
        octet = int(match[1], 16)
    except (ValueError, TypeError):
        raise BadRequest("bad percent encoding in the path", rfc="RFC 3986 §2.1") from None
    if octet == 0:
        raise BadRequest("NUL in the path", rfc="RFC 3986 §7.3")
    return bytes((octet,)) if octet in _UNRESERVED else b"%%%02X" % octet
