"""Addresses as the config writes them: `http://:8080`, `tcp://db:3306`, `unix:///tmp/app.sock`, `upstream://pool`.

Pure; used by `config`, `build` and `net`. `parse_listen` and `parse_target` read them, and say precisely what is
wrong with one that cannot be used.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

from msgspec import Struct

from npserver.errors import clip
from npserver.guess import get_close_matches
from npserver.regex import regex

#: Schemes that listen, with what they speak.
STREAM_SCHEMES = frozenset({"http", "https", "tcp", "ssl", "unix"})
DATAGRAM_SCHEMES = frozenset({"udp", "unixgram"})
TLS_SCHEMES = frozenset({"https", "ssl"})
UNIX_SCHEMES = frozenset({"unix", "unixgram"})
HTTP_SCHEMES = frozenset({"http", "https", "unix", "ssl"})  # what a rule without `listener` serves

LISTEN_SCHEMES = ("http", "https", "tcp", "udp", "ssl", "unix", "unixgram")
TARGET_SCHEMES = (*LISTEN_SCHEMES, "upstream")
DEFAULT_PORTS = {"http": 80, "https": 443}

#: What other programs call our schemes.
_OTHER_NAMES = {"ws": "http", "wss": "https", "tls": "ssl", "tcp4": "tcp", "tcp6": "tcp", "udp4": "udp", "udp6": "udp"}
_MAX_UNIX_PATH_BYTES = 107  # sun_path of Linux holds 108 with its final NUL
_SCHEME = regex(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_LABEL = regex(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_BLANK = regex(r"[\x00-\x20\x7f]")
_ADDRESS_ONLY = regex(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._*-]*)(?::\d+)?")


class Address(Struct, frozen=True):
    """A parsed URI."""

    scheme: str
    host: str = ""  # lower case, without brackets; "" is any address; the name of an `upstream://`
    port: int = 0
    path: str = ""  # a socket's path for unix schemes; the URI's path ("" or "/...") for http and https

    @property
    def is_stream(self) -> bool:
        """Whether bytes flow, rather than datagrams."""
        return self.scheme in STREAM_SCHEMES

    @property
    def is_tls(self) -> bool:
        """Whether TLS is spoken."""
        return self.scheme in TLS_SCHEMES

    @property
    def is_unix(self) -> bool:
        """Whether this is a Unix socket."""
        return self.scheme in UNIX_SCHEMES

    @property
    def is_wildcard(self) -> bool:
        """Whether listening here reaches every interface."""
        return not self.is_unix and self.host in {"", "0.0.0.0", "::"}

    def __str__(self) -> str:
        if self.is_unix:
            return f"{self.scheme}://{self.path}"
        if self.scheme == "upstream":
            return f"upstream://{self.host}{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


def parse_listen(uri: str, default_port: int | None = None) -> Address:
    """Read the address of a listener; port 0 lets the kernel choose one.

    `default_port` stands in where the URI has none and its scheme implies none (http 80, https 443).

    Raises: ValueError, with a message that names the URI and what is wrong with it.
    """
    scheme, rest = _split_scheme(uri, "", LISTEN_SCHEMES, "http")
    if scheme in UNIX_SCHEMES:
        return Address(scheme, path=_unix_path(uri, rest))
    authority, path = _split_path(uri, rest)
    if path not in {"", "/"}:
        raise ValueError(f'a listener has no path, got {clip(path)} in {clip(uri)}; give it to a rule as "path"')
    host, port = _host_and_port(uri, authority)
    if port is None:
        port = DEFAULT_PORTS.get(scheme, default_port)
    if port is None:
        raise ValueError(f"port missing in {clip(uri)}, expected as in '{scheme}://{authority}:8080'")
    return Address(scheme, "" if host == "*" else host, port)


@lru_cache(maxsize=1024)  # many rules name the same few targets
def parse_target(
    uri: str, default_scheme: str = "", default_port: int | None = None, *, likely_scheme: str = "tcp"
) -> Address:
    """Read the address of an upstream's target, or `upstream://name`.

    `default_scheme` is for `db.internal:3306`, `default_port` for schemes that imply no port; `likely_scheme` is
    proposed where one is missing. Only http, https and upstream addresses have a path.

    Raises: ValueError, with a message that names the URI and what is wrong with it.
    """
    scheme, rest = _split_scheme(uri, default_scheme, TARGET_SCHEMES, likely_scheme)
    if scheme in UNIX_SCHEMES:
        return Address(scheme, path=_unix_path(uri, rest))
    authority, path = _split_path(uri, rest)
    if scheme == "upstream":
        if not authority:
            raise ValueError(f"name of the upstream missing in {clip(uri)}, expected as in 'upstream://pool'")
        return Address(scheme, authority, path=path)
    if path and scheme not in {"http", "https"}:
        if path != "/":
            raise ValueError(f"{scheme} addresses have no path, got {clip(path)} in {clip(uri)}")
        path = ""
    host, port = _host_and_port(uri, authority)
    if port is None:
        port = DEFAULT_PORTS.get(scheme, default_port)
    if not host or host == "*":
        raise ValueError(f"host missing in {clip(uri)}, expected as in '{scheme}://127.0.0.1:{port or 8080}'")
    if not port:
        raise ValueError(f"port {'0' if port == 0 else 'missing'} in {clip(uri)}, expected 1 to 65535")
    return Address(scheme, host, port, path)


def _split_scheme(uri: str, default: str, schemes: tuple[str, ...], likely: str) -> tuple[str, str]:
    if match := _SCHEME.fullmatch(uri):
        scheme = match[1].lower()
        if scheme in schemes:
            return scheme, match[2]
        close = _OTHER_NAMES.get(scheme) or next(iter(get_close_matches(scheme, schemes, 1)), "")
        hint = f"did you mean '{close}://'?" if close in schemes else f"expected one of {', '.join(schemes)}"
        raise ValueError(f"unknown scheme {clip(match[1])} in {clip(uri)}; {hint}")
    if default and "://" not in uri:
        return default, uri
    if uri.startswith(("unix:", "unixgram:", "/")):
        scheme, path = uri.split(":", 1) if ":" in uri else ("unix", uri)
        raise ValueError(f"expected '{scheme}:///{path.lstrip('/')}', got {clip(uri)}")
    example = f":{uri}" if uri.isdigit() else uri if uri and _ADDRESS_ONLY.fullmatch(uri) else "127.0.0.1:8080"
    raise ValueError(f"scheme missing in {clip(uri)}, expected as in '{likely}://{example}'")


def _split_path(uri: str, rest: str) -> tuple[str, str]:
    authority, slash, path = rest.partition("/")
    for mark, name in (("?", "query"), ("#", "fragment")):
        if mark in rest:
            raise ValueError(f"an address has no {name}, got '{mark}' in {clip(uri)}")
    if "@" in authority:
        raise ValueError(f"an address has no user name, got '@' in {clip(uri)}")
    if _BLANK.search(rest):
        raise ValueError(f"blank or control character in {clip(uri)}")
    return authority, slash + path


def _unix_path(uri: str, path: str) -> str:
    if not path.startswith(("/", "./", "../")):
        raise ValueError(f"the path of a socket must be absolute, got {clip(uri)}; expected as in 'unix:///{path}'")
    if "\0" in path:
        raise ValueError(f"NUL in the path of {clip(uri)}")
    if path.endswith("/"):
        raise ValueError(f"the path of a socket must not end in '/', got {clip(uri)}")
    if (size := len(path.encode(errors="surrogateescape"))) > _MAX_UNIX_PATH_BYTES:
        raise ValueError(f"socket path of {size} bytes, at most {_MAX_UNIX_PATH_BYTES} are possible: {clip(uri)}")
    return path


def _host_and_port(uri: str, authority: str) -> tuple[str, int | None]:
    """Split `host:port`; the port is None if there is none."""
    if authority.startswith("["):
        inside, bracket, tail = authority[1:].partition("]")
        if not bracket:
            raise ValueError(f"']' missing in {clip(uri)}")
        if tail and not tail.startswith(":"):
            raise ValueError(f"expected ':' and a port after ']', got {clip(tail)} in {clip(uri)}")
        return _ipv6(uri, inside), _port(uri, tail[1:]) if tail else None
    if authority.count(":") > 1:
        raise ValueError(f"IPv6 addresses stand in brackets, as in '[::1]:8080', got {clip(uri)}")
    host, colon, port = authority.partition(":")
    return _host(uri, host), _port(uri, port) if colon else None


def _port(uri: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"expected a port from 0 to 65535, got {clip(text)} in {clip(uri)}")
    if len(text) > 5 or int(text) > 65535:
        raise ValueError(f"port {clip(text)} is out of range, at most 65535 is possible: {clip(uri)}")
    return int(text)


def _ipv6(uri: str, text: str) -> str:
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError as error:
        raise ValueError(f"{clip(text)} is no IPv6 address in {clip(uri)}") from error


def _host(uri: str, text: str) -> str:
    if text in {"", "*"}:
        return text
    if not text.isascii():
        try:
            text = text.encode("idna").decode("ascii")
        except UnicodeError as error:
            raise ValueError(f"{clip(text)} is no host name in {clip(uri)}") from error
    host = text.lower().removesuffix(".")
    labels = host.split(".")
    if labels[-1].isdigit():  # RFC 3696 §2: no top-level domain is all digits, so this can only be IPv4
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError as error:
            raise ValueError(f"{clip(text)} is no IPv4 address in {clip(uri)}") from error
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{clip(text)} is no host name in {clip(uri)}")
    return host
