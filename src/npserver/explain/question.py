"""What is asked: read from the words of `npserver explain` or from an entry of `expect`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from ipaddress import IPv6Address, ip_address

from msgspec import Struct

from npserver.address import BYTES, DATAGRAMS, SCHEMES, parse_listen
from npserver.dns.message import codes
from npserver.dns.message.name import parse_owner, to_text
from npserver.dns.message.record import parse_type
from npserver.errors import clip
from npserver.idn import to_ascii
from npserver.networks import UNIX_PEER, is_ip_address
from npserver.regex import regex

ANYBODY = "192.0.2.1"  # of TEST-NET-1 (RFC 5737): no network of a config should have it
LOOPBACK = "127.0.0.1"
MAX_ASK = 8192  # characters

_HTTP = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_CONNECTIONS = tuple(name for name, scheme in SCHEMES.items() if scheme.serves & {BYTES, DATAGRAMS})
_NOT_IN_TARGET = regex(rb"[^!-~]")
_TOKEN = regex(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = regex(r"[\x00-\x08\x0a-\x1f\x7f]")
_UPGRADE = (("Connection", "Upgrade"), ("Upgrade", "websocket"))


class Kind(Enum):
    """What a question is about."""

    HTTP = "an HTTP request"
    DNS = "a DNS query"
    CONNECTION = "a connection"


class Question(Struct, frozen=True):
    """A question."""

    ask: str  # as it was written
    kind: Kind
    client: str | None  # the address of who asks; None: the default for the listener
    scheme: str = ""  # http, https, or that of the connection
    host: str = ""  # of the URL or the address, in lower-case ASCII and without brackets
    port: int | None = None  # None: the default of the scheme
    authority: str = ""  # the URL's, for Host
    target: str = "/"  # path and query of the URL
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    sni: str | None = None
    listener: str | None = None
    name: bytes = b""  # in wire form
    rtype: int = codes.A
    path: str = ""  # of a Unix socket

    @property
    def server_name(self) -> str:
        """The server name in the TLS handshake: the host, unless it is an IP address or another one is given."""
        return self.sni if self.sni is not None else "" if is_ip_address(self.host) else self.host

    def __str__(self) -> str:
        if self.kind is Kind.DNS:
            return f"dns:{to_text(self.name).removesuffix('.') or '.'} {codes.type_name(self.rtype)}"
        return self.ask if self.kind is Kind.CONNECTION or self.method == "GET" else f"{self.method} {self.ask}"


def parse_question(
    ask: str,
    *,
    client: str | None = None,
    method: str = "GET",
    headers: Mapping[str, str] | tuple[tuple[str, str], ...] = (),
    sni: str | None = None,
    listener: str | None = None,
) -> Question:
    """Read a question. Raises: ValueError with a message for the operator, which begins with the key that is wrong."""
    if len(ask) > MAX_ASK:
        raise ValueError(f"ask: longer than {MAX_ASK} characters")
    if not ask.isprintable():
        raise ValueError(f"ask: {clip(ask)} has characters that are not printable: write them as %XX")
    fields = tuple(headers.items()) if isinstance(headers, Mapping) else headers
    scheme, mark, rest = ask.partition("://")
    scheme = scheme.lower()
    is_http = bool(mark) and scheme in _HTTP
    if not is_http and (method != "GET" or fields):
        key = "method" if method != "GET" else "headers"
        raise ValueError(f"{key}: only HTTP requests have it, and {clip(ask)} is none")
    _check_fields(method, fields)
    who = _client(client)
    if is_http:
        if scheme.startswith("ws"):
            fields = (*_UPGRADE, *fields)
        authority, target = _split(rest)
        host, port = _host_and_port(ask, authority)
        return Question(
            ask, Kind.HTTP, who, _HTTP[scheme], host, port, _ascii(authority), target, method, fields, _name(sni),
            listener,
        )  # fmt: skip
    if mark and scheme in _CONNECTIONS:
        return _connection(ask, scheme, rest, who, _name(sni), listener)
    if mark:
        known = ", ".join([*_HTTP, *_CONNECTIONS])
        raise ValueError(f"ask: unknown scheme in {clip(ask)}; there are {known}, and dns:NAME")
    if sni is not None:
        raise ValueError(f"sni: a DNS query has none: {clip(ask)}")
    name, rtype = _dns(ask)
    return Question(ask, Kind.DNS, who, name=name, rtype=rtype, listener=listener)


def _client(text: str | None) -> str | None:
    if text is None or text == UNIX_PEER:
        return text
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        raise ValueError(
            f"from: expected an IP address, or 'unix:' for a client of a Unix socket, got {clip(text)}"
        ) from None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)


def _name(sni: str | None) -> str | None:
    if not sni:
        return sni
    try:
        return to_ascii(sni).lower().rstrip(".")
    except ValueError as error:
        raise ValueError(f"sni: {clip(sni)} is {error}") from None


def _check_fields(method: str, fields: tuple[tuple[str, str], ...]) -> None:
    if not _TOKEN.fullmatch(method):
        raise ValueError(f"method: {clip(method)} is not a method")
    for name, value in fields:
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"headers: {clip(name)} is not a valid header name")
        if _CONTROL.search(value):
            raise ValueError(f"headers: the value of {name} has a control character")


def _split(rest: str) -> tuple[str, str]:
    """Return the authority of a URL, and its path and query as a request has them."""
    rest = rest.partition("#")[0]
    at = min([place for mark in "/?" if (place := rest.find(mark)) >= 0], default=len(rest))
    target = rest[at:]
    if not target.startswith("/"):
        target = f"/{target}"
    wire = _NOT_IN_TARGET.sub(lambda found: b"%%%02X" % ord(found[0]), target.encode("utf-8", "surrogateescape"))
    return rest[:at], wire.decode("ascii")


def _ascii(authority: str) -> str:
    host, colon, port = authority.rpartition(":") if not authority.endswith("]") else ("", "", "")
    if not colon:
        host, port = authority, ""
    return f"{to_ascii(host) if not host.startswith('[') else host}{colon}{port}"


def _host_and_port(ask: str, authority: str) -> tuple[str, int | None]:
    """Return the host and the port of an authority. Raises: ValueError."""
    try:
        address = parse_listen(f"tcp://{authority}" if _has_port(authority) else f"tcp://{authority}:0")
    except ValueError as error:
        raise ValueError(f"ask: {str(error).replace('tcp://', '')}") from None
    if not address.host and "*" in authority:
        raise ValueError(f"ask: a host, not a star, is asked: {clip(ask)}")
    return address.host, address.port if _has_port(authority) else None


def _has_port(authority: str) -> bool:
    return ":" in authority.rpartition("]")[2]


def _connection(
    ask: str, scheme: str, rest: str, client: str | None, sni: str | None, listener: str | None
) -> Question:
    if scheme.startswith("unix"):
        return Question(ask, Kind.CONNECTION, client, scheme, sni=sni, listener=listener, path=rest)
    authority, _, path = rest.partition("/")
    if path:
        raise ValueError(f"ask: a connection has no path: {clip(ask)}")
    host, port = _host_and_port(ask, authority)
    if port is None and listener is None:
        raise ValueError(f"ask: port missing in {clip(ask)}, expected as in '{scheme}://{authority}:443'")
    return Question(ask, Kind.CONNECTION, client, scheme, host, port, sni=sni, listener=listener)


def _dns(ask: str) -> tuple[bytes, int]:
    text = ask.removeprefix("dns:").strip()
    name, _, rtype = text.partition(" ")
    if "/" in name and not ask.startswith("dns:"):
        raise ValueError(
            f"ask: scheme missing in {clip(ask)}: write http://{name} or https://{name}, or dns: before a name"
        )
    if not name:
        raise ValueError(f"ask: expected a URL or a name, got {clip(ask)}")
    try:
        wire = parse_owner(to_ascii(name) if name != "." else name)
    except ValueError as error:
        raise ValueError(f"ask: {error}") from None
    rtype = rtype.strip().upper() or "A"
    if rtype == "ANY":
        return wire, codes.ANY
    try:
        return wire, parse_type(rtype)
    except ValueError as error:
        raise ValueError(f"ask: {error}") from None
