"""Routing: finds the rule for a host and a path. The cost does not grow with the number of rules.

`web.compile` makes one router per listener; `web.server.front` calls it once per distinct request head. Pure.

A pattern is a path that matches exactly (`/health`) or, with a star at its end, everything below (`/api/**` and
`/api/*` match `/api`, `/api/` and `/api/v1/x`). A star within it stands for one segment (`/users/*/avatar`): the index
holds such a pattern as a prefix up to its first star, and `web.matching` compares the rest. Hosts are exact names,
wildcards (`*.example.com`, any depth) or any. The host comes first: the rules of the exact name are tried, then those
of the longest matching wildcard, of shorter ones, and last those of any host.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from msgspec import Struct

from npserver.errors import BadRequest, clip
from npserver.http.request_target import canonical_path, parse_authority
from npserver.idn import to_ascii
from npserver.regex import regex

T = TypeVar("T")

ANY_HOST = ""
_STARS = ("/**", "/*")
_NOT_IN_TARGET = regex(rb"[^A-Za-z0-9\-._~/%:@!$&'()+,;=\[\]|\\]")  # not allowed in a request target: percent-encoded


class Pattern(Struct, frozen=True):
    """A compiled path pattern. `path` is canonical; a prefix has no slash at its end, or is empty to match all.

    A pattern with a star within is a prefix, followed by `rest`: its segments from the first star on.
    """

    path: str
    is_prefix: bool
    rest: tuple[str, ...] = ()  # "*" stands for any one segment, "**" at the end for all that follow

    def __str__(self) -> str:
        return "/".join((self.path, *self.rest)) if self.rest else f"{self.path}/**" if self.is_prefix else self.path

    @property
    def order(self) -> tuple[int, ...]:
        """The place among patterns of the same `path`: those that sort first are more specific."""
        if not self.rest:
            return (2,)
        ranks = [2 if one == "**" else one == "*" for one in self.rest]
        return (*ranks,) if ranks[-1] == 2 else (*ranks, -1)

    def has(self, path: str) -> bool:
        """Return whether `rest` matches a canonical path that begins with this prefix."""
        if not self.rest:
            return True
        wanted = self.rest
        found = path[len(self.path) + 1 :].split("/")
        if wanted[-1] == "**":
            wanted = wanted[:-1]
            found = found[: len(wanted)]
        return len(found) == len(wanted) and all(
            here == there or (there == "*" and here != "") for here, there in zip(found, wanted, strict=True)
        )


def parse_pattern(text: str) -> Pattern:
    """Parse a path pattern. Raises: ValueError."""
    if text in ("*", "**"):
        return Pattern("", True)
    if not text.startswith("/"):
        raise ValueError(f"path {clip(text)} must start with a slash")
    star = next((star for star in _STARS if text.endswith(star)), "")
    path = text[: len(text) - len(star)] if star else text
    if "/*/" in f"{path}/":
        return _parse_starred(text, path, is_open=bool(star))
    if "*" in path:
        raise ValueError(
            f"path {clip(text)}: a star stands for a whole segment, as in '/users/*/avatar', or for all below, as in "
            "'/api/**'; for anything else there is 'path_regex'"
        )
    if "?" in path or "#" in path:
        raise ValueError(f"path {clip(text)} must not contain a query or a fragment")
    try:
        canonical = canonical_path(_NOT_IN_TARGET.sub(lambda found: b"%%%02X" % ord(found[0]), (path or "/").encode()))
    except BadRequest as error:
        raise ValueError(f"path {clip(text)}: {error}") from None
    if star:
        canonical = canonical.rstrip("/")
    return Pattern(canonical, bool(star))


def _parse_starred(text: str, path: str, *, is_open: bool) -> Pattern:
    """Parse a pattern with a star before its end. Raises: ValueError."""
    stand_in = "\uffff"  # no path has it: what is left of it shows where the stars were
    starred = "/".join([stand_in if part == "*" else part for part in path.split("/")])
    if "*" in starred or stand_in in path:
        raise ValueError(
            f"path {clip(text)}: a star stands for a whole segment, as in '/users/*/avatar'; for a part of one there "
            "is 'path_regex'"
        )
    canonical = parse_pattern(starred).path.split("/")
    mark = "".join([f"%{octet:02X}" for octet in stand_in.encode()])
    segments = ["*" if part == mark else part for part in canonical]
    if segments.count("*") != path.split("/").count("*"):
        raise ValueError(f"path {clip(text)}: dot segments must not follow a star")
    first = segments.index("*")
    if is_open and segments[-1] == "":
        segments.pop()
    return Pattern("/".join(segments[:first]), True, (*segments[first:], *(["**"] * is_open)))


def parse_host(text: str) -> str:
    """Return a host pattern in lower-case ASCII: `example.com`, `*.example.com`, or "" for any. Raises: ValueError."""
    if text in ("*", ""):
        return ANY_HOST
    name = text.removeprefix("*.")
    if "*" in name:
        raise ValueError(f"host {clip(text)}: a star is allowed only as the first label, as in '*.example.com'")
    try:
        host = parse_authority(to_ascii(name).encode("ascii"))
    except BadRequest:
        hint = "; several names are written as a list" if len(name.replace(",", " ").split()) > 1 else ""
        raise ValueError(f"host {clip(text)} is not a valid host name{hint}") from None
    except ValueError as error:
        raise ValueError(f"host {clip(text)}: {error}") from None
    return f"*.{host}" if text.startswith("*.") else host


class _Paths(Generic[T]):
    """The patterns of one host."""

    __slots__ = ("exact", "longest", "prefixes")

    def __init__(self) -> None:
        self.exact: dict[str, T] = {}
        self.prefixes: dict[str, T] = {}
        self.longest = 0  # characters of the longest prefix

    def find(self, path: str) -> T | None:
        """Return the value of the most specific pattern that matches; None if none does."""
        value = self.exact.get(path)
        if value is not None:
            return value
        prefixes = self.prefixes
        longest = self.longest
        if len(path) > longest:
            # Cut at the end of a segment, so that long paths cost no more than the longest pattern.
            if path[longest] != "/":
                longest = path.rfind("/", 0, longest)
            path = path[: max(longest, 0)]
        while True:
            value = prefixes.get(path)
            if value is not None or not path:
                return value
            path = path[: max(path.rfind("/"), 0)]

    def find_all(self, path: str) -> Iterator[T]:
        """Return the values of all patterns that match, the most specific first."""
        if (value := self.exact.get(path)) is not None:
            yield value
        if len(path) > self.longest:  # cut at the end of a segment, as `find` does
            at = self.longest if path[self.longest] == "/" else path.rfind("/", 0, self.longest)
            path = path[: max(at, 0)]
        while True:
            if (value := self.prefixes.get(path)) is not None:
                yield value
            if not path:
                return
            path = path[: max(path.rfind("/"), 0)]


class Router(Generic[T]):
    """Values by host and path pattern.

    Args:
        entries: (host, pattern, value); of two with the same host and pattern, the first is used.
    """

    __slots__ = ("_any", "_hosts", "_wildcards", "duplicates")

    def __init__(self, entries: Iterable[tuple[str, Pattern, T]]) -> None:
        self._hosts: dict[str, _Paths[T]] = {}
        self._wildcards: dict[str, _Paths[T]] = {}
        self._any: _Paths[T] = _Paths()
        #: Values that are never found, each with the value that is found instead.
        self.duplicates: list[tuple[T, T]] = []
        for host, pattern, value in entries:
            self._add(host, pattern, value)

    def _add(self, host: str, pattern: Pattern, value: T) -> None:
        if host == ANY_HOST:
            paths = self._any
        elif host.startswith("*."):
            paths = self._wildcards.setdefault(host[1:], _Paths())
        else:
            paths = self._hosts.setdefault(host, _Paths())
        table = paths.prefixes if pattern.is_prefix else paths.exact
        first = table.setdefault(pattern.path, value)
        if first is not value:
            self.duplicates.append((value, first))
        elif pattern.is_prefix:
            paths.longest = max(paths.longest, len(pattern.path))

    def find(self, host: str, path: str) -> T | None:
        """Return the value for a lower-case host and a canonical path; None if no pattern matches."""
        # hot: static-varied
        if self._hosts and (paths := self._hosts.get(host)) is not None and (value := paths.find(path)) is not None:
            return value
        if self._wildcards:
            dot = host.find(".")
            while dot >= 0:
                paths = self._wildcards.get(host[dot:])
                if paths is not None and (value := paths.find(path)) is not None:
                    return value
                dot = host.find(".", dot + 1)
        return self._any.find(path)

    def find_all(self, host: str, path: str) -> Iterator[T]:
        """Return the values of all patterns that match, the most specific first, as `find` returns the first."""
        if (paths := self._hosts.get(host)) is not None:
            yield from paths.find_all(path)
        dot = host.find(".")
        while dot >= 0:
            if (paths := self._wildcards.get(host[dot:])) is not None:
                yield from paths.find_all(path)
            dot = host.find(".", dot + 1)
        yield from self._any.find_all(path)
