"""Locations and cookies of an upstream's answer, as the client must see them (RFC 9110 §10.2.2, RFC 6265 §4.1). Pure.

An application behind a gateway names itself by the address and path under which it was asked; the client knows another.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from npserver.regex import regex

_ABSOLUTE = regex(rb"(?:https?:)?//([^/?#]*)([^\r\n]*)", re.IGNORECASE)
_REFRESH = regex(rb"(\d+\s*[;,]\s*url\s*=\s*[\"']?)(.*)", re.IGNORECASE)
_COOKIE_ATTRIBUTE = regex(rb"(;[ \t]*)(path|domain)[ \t]*=[ \t]*([^;]*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Relocation:
    """How the upstream's view of its addresses maps to the client's."""

    base: bytes = b""  # path put before what the upstream is asked for: its own name for our root
    prefix: bytes = b""  # path taken off what the client asked for
    rewrites_host: bool = True  # the upstream was asked by its own name, not by the client's

    def rewrite(self, fields: bytes, authority: bytes, client_authority: bytes) -> bytes:
        """Rewrite the location and cookie lines in a block of field lines.

        Args:
            authority: the target's, as its Host field had it.
            client_authority: the client's.
        """
        lines = fields.split(b"\r\n")
        for index, line in enumerate(lines):
            name, _, value = line.partition(b":")
            key = name.lower()
            if key in (b"location", b"content-location"):
                lines[index] = name + b": " + self.location(value.strip(b" \t"), authority, client_authority)
            elif key == b"refresh" and (match := _REFRESH.fullmatch(value.strip(b" \t"))):
                lines[index] = name + b": " + match[1] + self.location(match[2], authority, client_authority)
            elif key == b"set-cookie":
                lines[index] = name + b":" + self.cookie(value, authority)
        return b"\r\n".join(lines)

    def location(self, value: bytes, authority: bytes, client_authority: bytes) -> bytes:
        """A URI reference: one to the target itself becomes one below our own root, without host."""
        if value[:1] == b"/" and value[:2] != b"//":
            return self.path(value)
        match = _ABSOLUTE.fullmatch(value)
        if match is None:
            return value  # relative to the request's path: right as it is
        host = match[1].lower()
        rest = match[2] if match[2][:1] == b"/" else b"/" + match[2]
        if self.rewrites_host and host == authority.lower():
            path = self.path(rest)
            return path if path[:2] != b"//" else value  # never a reference to another host
        if host == client_authority.lower() and match[2]:
            return value[: match.start(2)] + self.path(rest)
        return value

    def path(self, path: bytes) -> bytes:
        """An absolute path (with query and fragment) as the client must write it."""
        if self.base and _is_below(path, self.base):
            path = path[len(self.base) :] or b"/"
            if path[:1] != b"/":
                path = b"/" + path
        if self.prefix and not _is_below(path, self.prefix):
            path = self.prefix + path
        return path

    def cookie(self, value: bytes, authority: bytes) -> bytes:
        """A Set-Cookie value: its path moved, a domain that is the target's left out (it becomes the client's host)."""
        host = authority.rpartition(b":")[0] if authority[-1:] != b"]" and b":" in authority else authority

        def attribute(match: re.Match[bytes]) -> bytes:
            text = match[3].strip()
            if match[2].lower() == b"domain":
                is_ours = self.rewrites_host and text.lower().lstrip(b".") == host.lower()
                return b"" if is_ours else match[0]
            if text[:1] != b"/":
                return match[0]
            path = self.path(text)
            return match[1] + match[2] + b"=" + (path.rstrip(b"/") if text == b"/" and self.prefix else path)

        return _COOKIE_ATTRIBUTE.sub(attribute, value)


def _is_below(path: bytes, prefix: bytes) -> bool:
    return path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in (b"", b"/", b"?", b"#")
