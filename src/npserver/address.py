"""Addresses as the config writes them: `http://:8080`, `tcp://db:3306`, `unix:///tmp/app.sock`, `upstream://pool`.

Pure; used by all packages. `SCHEMES` is the table of schemes. `parse_listen` and `parse_target` read an address and
raise a ValueError that says precisely what is wrong with it.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

from msgspec import Struct

from npserver.errors import clip
from npserver.guess import get_close_matches
from npserver.idn import to_ascii
from npserver.regex import regex

HTTP, BYTES, DATAGRAMS, DNS = "http", "bytes", "datagrams", "dns"
QUIC = "quic"  # the scheme of DNS over QUIC, and of the UDP sockets of listeners with `http3`


class Scheme(Struct, frozen=True):
    """The part of an address before `://`: how it is connected, and which protocols it carries."""

    name: str
    serves: frozenset[str]  # protocols a listener can serve: HTTP, BYTES, DATAGRAMS, DNS; empty: cannot listen
    reaches: frozenset[str]  # protocols a target can be spoken to in; empty: cannot be a target
    is_stream: bool = True
    is_tls: bool = False
    is_unix: bool = False
    has_path: bool = False  # a target may have a path after its port
    default_port: int | None = None
    dns_port: int | None = None  # the default port of a name server's listener


#: All schemes, by name. Every other set of schemes is derived from this table.
SCHEMES = {
    scheme.name: scheme
    for scheme in (
        Scheme("http", frozenset({HTTP, DNS}), frozenset({HTTP}), has_path=True, default_port=80),
        Scheme("https", frozenset({HTTP, DNS}), frozenset({HTTP}), is_tls=True, has_path=True, default_port=443),
        Scheme("h2c", frozenset(), frozenset({HTTP}), has_path=True, default_port=80),
        Scheme("tcp", frozenset({BYTES, DNS}), frozenset({BYTES}), dns_port=53),
        Scheme("udp", frozenset({DATAGRAMS, DNS}), frozenset({DATAGRAMS}), is_stream=False, dns_port=53),
        Scheme("ssl", frozenset({HTTP, BYTES, DNS}), frozenset({BYTES}), is_tls=True, dns_port=853),
        Scheme(QUIC, frozenset({DNS}), frozenset(), is_stream=False, is_tls=True, dns_port=853),
        Scheme("unix", frozenset({HTTP, BYTES}), frozenset({HTTP, BYTES}), is_unix=True),
        Scheme("unixgram", frozenset({DATAGRAMS}), frozenset({DATAGRAMS}), is_stream=False, is_unix=True),
        Scheme("upstream", frozenset(), frozenset({HTTP, BYTES, DATAGRAMS}), is_stream=False, has_path=True),
    )
}


def schemes_serving(*protocols: str) -> frozenset[str]:
    """Return the schemes of the listeners that can serve one of `protocols`."""
    return frozenset(name for name, scheme in SCHEMES.items() if not scheme.serves.isdisjoint(protocols))


def schemes_reaching(*protocols: str) -> frozenset[str]:
    """Return the schemes of the targets that can be spoken to in one of `protocols`; `upstream` is one of them."""
    return frozenset(name for name, scheme in SCHEMES.items() if not scheme.reaches.isdisjoint(protocols))


LISTEN_SCHEMES = tuple(name for name, scheme in SCHEMES.items() if scheme.serves)
TARGET_SCHEMES = tuple(name for name, scheme in SCHEMES.items() if scheme.reaches)
HTTP_ONLY = schemes_serving(HTTP) - schemes_serving(BYTES, DATAGRAMS)  # http and https
_STREAM = frozenset(name for name, scheme in SCHEMES.items() if scheme.is_stream)
_TLS = frozenset(name for name, scheme in SCHEMES.items() if scheme.is_tls)
_UNIX = frozenset(name for name, scheme in SCHEMES.items() if scheme.is_unix)

#: Names that other programs use for our schemes.
_OTHER_NAMES = {
    "ws": "http",
    "wss": "https",
    "tls": "ssl",
    "dot": "ssl",
    "doq": "quic",
    "fcgi": "tcp",
    "fastcgi": "tcp",
    "grpc": "h2c",
    "grpcs": "https",
    "h2s": "https",
    "tcp4": "tcp",
    "tcp6": "tcp",
    "udp4": "udp",
    "udp6": "udp",
}
_MAX_UNIX_PATH_BYTES = 107  # sun_path of Linux holds 108 with its final NUL
_SCHEME = regex(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_LABEL = regex(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_USER = regex(r"^((?!unix)(?:[a-z0-9.+-]*:)?/*).+@", re.IGNORECASE | re.DOTALL)
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
        """Whether it carries a stream of bytes, not datagrams."""
        return self.scheme in _STREAM

    @property
    def is_tls(self) -> bool:
        """Whether connections are encrypted with TLS."""
        return self.scheme in _TLS

    @property
    def is_unix(self) -> bool:
        """Whether this is a Unix socket."""
        return self.scheme in _UNIX

    @property
    def is_wildcard(self) -> bool:
        """Whether a listener with this address accepts clients on every interface."""
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

    `default_port` is used where the URI has none and its scheme implies none (http 80, https 443).

    Raises: ValueError, with a message that quotes the URI and says what is wrong with it.
    """
    scheme, rest = _split_scheme(uri, "", LISTEN_SCHEMES, "http")
    if scheme in _UNIX:
        return Address(scheme, path=_unix_path(uri, rest))
    authority, path = _split_path(uri, rest)
    if path not in {"", "/"}:
        raise ValueError(f'a listener has no path, got {clip(path)} in {quote_uri(uri)}; give it to a rule as "path"')
    host, port = _host_and_port(uri, authority)
    if port is None:
        port = SCHEMES[scheme].default_port or default_port
    if port is None:
        raise ValueError(f"port missing in {quote_uri(uri)}, expected as in '{scheme}://{authority}:8080'")
    return Address(scheme, "" if host == "*" else host, port)


@lru_cache(maxsize=1024)  # many rules name the same few targets
def parse_target(
    uri: str, default_scheme: str = "", default_port: int | None = None, *, likely_scheme: str = "tcp"
) -> Address:
    """Read the address of an upstream's target, or `upstream://name`.

    `default_scheme` is used for an address without one such as `db.internal:3306`, `default_port` where the scheme
    implies no port. The error about a missing scheme proposes `likely_scheme`. Only http, https and upstream
    addresses have a path.

    Raises: ValueError, with a message that quotes the URI and says what is wrong with it.
    """
    scheme, rest = _split_scheme(uri, default_scheme, TARGET_SCHEMES, likely_scheme)
    if scheme in _UNIX:
        return Address(scheme, path=_unix_path(uri, rest))
    authority, path = _split_path(uri, rest)
    if scheme == "upstream":
        if not authority:
            raise ValueError(f"name of the upstream missing in {quote_uri(uri)}, expected as in 'upstream://pool'")
        return Address(scheme, authority, path=path)
    if path and not SCHEMES[scheme].has_path:
        if path != "/":
            raise ValueError(f"{scheme} addresses have no path, got {clip(path)} in {quote_uri(uri)}")
        path = ""
    host, port = _host_and_port(uri, authority)
    if port is None:
        port = SCHEMES[scheme].default_port or default_port
    if not host or host == "*":
        raise ValueError(f"host missing in {quote_uri(uri)}, expected as in '{scheme}://127.0.0.1:{port or 8080}'")
    if not port:
        raise ValueError(f"port {'0' if port == 0 else 'missing'} in {quote_uri(uri)}, expected 1 to 65535")
    return Address(scheme, host, port, path)


def _split_scheme(uri: str, default: str, schemes: tuple[str, ...], likely: str) -> tuple[str, str]:
    if match := _SCHEME.fullmatch(uri):
        scheme = match[1].lower()
        if scheme in schemes:
            return scheme, match[2]
        close = _OTHER_NAMES.get(scheme) or next(iter(get_close_matches(scheme, schemes, 1)), "")
        hint = f"did you mean '{close}://'?" if close in schemes else f"expected one of {', '.join(schemes)}"
        raise ValueError(f"unknown scheme {clip(match[1])} in {quote_uri(uri)}; {hint}")
    if default and "://" not in uri:
        return default, uri
    if uri.startswith(("unix:", "unixgram:", "/")):
        scheme, path = uri.split(":", 1) if ":" in uri else ("unix", uri)
        raise ValueError(f"expected '{scheme}:///{path.lstrip('/')}', got {quote_uri(uri)}")
    example = f":{uri}" if uri.isdigit() else uri if uri and _ADDRESS_ONLY.fullmatch(uri) else "127.0.0.1:8080"
    raise ValueError(f"scheme missing in {quote_uri(uri)}, expected as in '{likely}://{example}'")


def quote_uri(uri: str) -> str:
    """Return a URI for a message, without a user name and password: those of others have them."""
    return clip(_USER.sub(r"\1...@", uri))


def _split_path(uri: str, rest: str) -> tuple[str, str]:
    authority, slash, path = rest.partition("/")
    for mark, name in (("?", "query"), ("#", "fragment")):
        if mark in rest:
            raise ValueError(f"an address has no {name}, got '{mark}' in {quote_uri(uri)}")
    if "@" in authority:
        raise ValueError(f"an address has no user name, got '@' in {quote_uri(uri)}")
    if _BLANK.search(rest):
        raise ValueError(f"blank or control character in {quote_uri(uri)}")
    return authority, slash + path


def _unix_path(uri: str, path: str) -> str:
    if not path.startswith(("/", "./", "../")):
        raise ValueError(
            f"the path of a socket must be absolute, got {quote_uri(uri)}; expected as in 'unix:///{path}'"
        )
    if "\0" in path:
        raise ValueError(f"NUL in the path of {quote_uri(uri)}")
    if path.endswith("/"):
        raise ValueError(f"the path of a socket must not end in '/', got {quote_uri(uri)}")
    if (size := len(path.encode(errors="surrogateescape"))) > _MAX_UNIX_PATH_BYTES:
        raise ValueError(f"socket path of {size} bytes, at most {_MAX_UNIX_PATH_BYTES} are possible: {quote_uri(uri)}")
    return path


def _host_and_port(uri: str, authority: str) -> tuple[str, int | None]:
    """Split `host:port`; the port is None if there is none."""
    if authority.startswith("["):
        inside, bracket, tail = authority[1:].partition("]")
        if not bracket:
            raise ValueError(f"']' missing in {quote_uri(uri)}")
        if tail and not tail.startswith(":"):
            raise ValueError(f"expected ':' and a port after ']', got {clip(tail)} in {quote_uri(uri)}")
        return _ipv6(uri, inside), _port(uri, tail[1:]) if tail else None
    if authority.count(":") > 1:
        raise ValueError(f"IPv6 addresses stand in brackets, as in '[::1]:8080', got {quote_uri(uri)}")
    host, colon, port = authority.partition(":")
    return _host(uri, host), _port(uri, port) if colon else None


def _port(uri: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"expected a port from 0 to 65535, got {clip(text)} in {quote_uri(uri)}")
    if len(text) > 5 or int(text) > 65535:
        raise ValueError(f"port {clip(text)} is out of range, at most 65535 is possible: {quote_uri(uri)}")
    return int(text)


def _ipv6(uri: str, text: str) -> str:
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError as error:
        raise ValueError(f"{clip(text)} is not a valid IPv6 address in {quote_uri(uri)}") from error


def _host(uri: str, text: str) -> str:
    if text in {"", "*"}:
        return text
    try:
        host = to_ascii(text).lower().removesuffix(".")
    except ValueError as error:
        raise ValueError(f"{clip(text)} is not a valid host name in {quote_uri(uri)}") from error
    labels = host.split(".")
    if labels[-1].isdigit():  # RFC 3696 §2: no top-level domain is all digits, so this can only be IPv4
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError as error:
            raise ValueError(f"{clip(text)} is not a valid IPv4 address in {quote_uri(uri)}") from error
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{clip(text)} is not a valid host name in {quote_uri(uri)}")
    return host
