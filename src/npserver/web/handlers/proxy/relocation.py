"""Rewriting of Location and Set-Cookie in responses of upstreams (RFC 9110 §10.2.2, RFC 6265 §4.1). Pure.

An application refers to itself by the host and path of the request that it received. The client knows it by others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from npserver.regex import regex

_ABSOLUTE = regex(rb"(?:https?:)?//([^/?#]*)([^\r\n]*)", re.IGNORECASE)
_REFRESH = regex(rb"(\d+\s*[;,]\s*url\s*=\s*[\"']?)(.*)", re.IGNORECASE)
_HOST_COOKIE = regex(rb"[ \t]*__host-", re.IGNORECASE)
_COOKIE_ATTRIBUTE = regex(rb"(;[ \t]*)(path|domain)[ \t]*=[ \t]*([^;]*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Relocation:
    """Maps hosts and paths as the upstream knows them to those that the client knows."""

    base: bytes = b""  # path that the proxy prepends to the path of requests
    prefix: bytes = b""  # path that the proxy removes from the path of requests
    rewrites_host: bool = True  # whether the upstream received its own name as Host, not the client's
    locations: bool | Literal["host"] = True  # whether references are rewritten; "host": without their paths
    cookies: bool | Literal["host"] = True  # whether cookies are; "host": without their paths

    def rewrite(self, fields: bytes, authority: bytes, client_authority: bytes) -> bytes:
        """Rewrite the location and cookie lines in a block of field lines.

        Args:
            authority: host and port of the target, as sent in Host.
            client_authority: host and port that the client requested.
        """
        lines = fields.split(b"\r\n")
        for index, line in enumerate(lines):
            name, _, value = line.partition(b":")
            key = name.lower()
            if key == b"set-cookie":
                if self.cookies:
                    lines[index] = name + b":" + self.cookie(value, authority)
            elif not self.locations:
                continue
            elif key in (b"location", b"content-location"):
                lines[index] = name + b": " + self.location(value.strip(b" \t"), authority, client_authority)
            elif key == b"refresh" and (match := _REFRESH.fullmatch(value.strip(b" \t"))):
                lines[index] = name + b": " + match[1] + self.location(match[2], authority, client_authority)
        return b"\r\n".join(lines)

    def location(self, value: bytes, authority: bytes, client_authority: bytes) -> bytes:
        """Return a URI reference for the client: one to the target itself becomes a path on this server."""
        maps = self.path if self.locations is True else _as_it_is
        if value[:1] == b"/" and value[:2] != b"//":
            return maps(value)
        match = _ABSOLUTE.fullmatch(value)
        if match is None:
            return value  # relative to the path of the request: needs no change
        host = match[1].lower()
        rest = match[2] if match[2][:1] == b"/" else b"/" + match[2]
        if self.rewrites_host and host == authority.lower():
            path = maps(rest)
            return path if path[:2] != b"//" else value  # `//name` would refer to another host
        if host == client_authority.lower() and match[2]:
            return value[: match.start(2)] + maps(rest)
        return value

    def path(self, path: bytes) -> bytes:
        """Return an absolute path, with query and fragment, for the client."""
        if self.base and _is_below(path, self.base):
            path = path[len(self.base) :] or b"/"
            if path[:1] != b"/":
                path = b"/" + path
        if self.prefix and not _is_below(path, self.prefix):
            path = self.prefix + path
        return path

    def cookie(self, value: bytes, authority: bytes) -> bytes:
        """Return a Set-Cookie value with its path mapped, and without a Domain that is the target's host.

        Browsers accept a cookie named `__Host-` only with the path `/` (RFC 6265bis §4.1.3.2): it keeps that.
        """
        maps = self.path if self.cookies is True and not _HOST_COOKIE.match(value) else None
        host = authority.rpartition(b":")[0] if authority[-1:] != b"]" and b":" in authority else authority

        def attribute(match: re.Match[bytes]) -> bytes:
            text = match[3].strip()
            if match[2].lower() == b"domain":
                is_ours = self.rewrites_host and text.lower().lstrip(b".") == host.lower()
                return b"" if is_ours else match[0]
            if maps is None or text[:1] != b"/":
                return match[0]
            path = maps(text)
            return match[1] + match[2] + b"=" + (path.rstrip(b"/") if text == b"/" and self.prefix else path)

        return _COOKIE_ATTRIBUTE.sub(attribute, value)


def _as_it_is(path: bytes) -> bytes:
    return path


def _is_below(path: bytes, prefix: bytes) -> bool:
    return path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in (b"", b"/", b"?", b"#")
