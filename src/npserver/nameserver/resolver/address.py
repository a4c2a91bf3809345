"""The addresses of resolvers as the config writes them. Pure.

`9.9.9.9`, `2620:fe::fe`, `[2620:fe::fe]:5353`, `udp://1.1.1.1:53`, `tcp://1.1.1.1`, `tls://9.9.9.9#dns.quad9.net`,
`https://1.1.1.1/dns-query`, `https://dns.quad9.net/dns-query#9.9.9.9`. What follows `#` is the name in the certificate
where the host is an IP address, and the IP address to connect to where the host is a name: a resolver cannot be asked
where it is itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from msgspec import Struct

from npserver.errors import clip
from npserver.guess import get_close_matches
from npserver.idn import to_ascii
from npserver.regex import regex

PORTS = {"udp": 53, "tcp": 53, "tls": 853, "https": 443}
DEFAULT_PATH = "/dns-query"  # RFC 8484 leaves it open; all public resolvers have this one
_OTHER_NAMES = {"dns": "udp", "dot": "tls", "ssl": "tls", "doh": "https", "h2": "https", "http": "https"}
_NOT_SPOKEN = {"quic": "tls", "doq": "tls", "h3": "https", "sdns": "https", "dnscrypt": "tls"}
_PLAIN = frozenset(PORTS) - {"tls", "https"}
_HOST = regex(r"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?")
_TARGET = regex(r"/[!-\"$-~]*")


class ResolverAddress(Struct, frozen=True):
    """One address of a resolver, with what is verified there."""

    scheme: str  # udp, tcp, tls or https
    host: str  # an IP address
    port: int
    server_name: str = ""  # in the certificate, for tls and https
    authority: str = ""  # of the URL, for https
    path: str = ""  # of the URL, with its query
    ca: str = ""  # file with the CAs trusted

    @property
    def is_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.scheme in ("tls", "https")

    @property
    def is_secure(self) -> bool:
        """Whether nobody on the way can change its answers: it is verified, or on this machine."""
        return self.is_tls or ip_address(self.host).is_loopback

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        name = f"#{self.server_name}" if self.server_name not in ("", self.host) else ""
        return f"{self.scheme}://{host}:{self.port}{name}"


def parse_resolver(
    text: str, addresses: Sequence[str] = (), server_name: str | None = None, ca: str | None = None
) -> list[ResolverAddress]:
    """Return the addresses of a resolver, one for each IP address. Raises: ValueError with a message for the operator.

    `addresses`, `server_name` and `ca` are those of the object form.
    """
    scheme, rest = _split_scheme(text)
    if scheme in _PLAIN:
        for key, value in (("server_name", server_name), ("ca", ca), ("address", addresses)):
            if value:
                raise ValueError(f"'{key}' has no effect: {clip(text)} is not encrypted; write tls:// or https://")
        host, port = _host_and_port(text, rest, scheme)
        return [ResolverAddress(scheme, _literal(host, text, scheme), port)]
    rest, _, fragment = rest.partition("#")
    path = ""
    if scheme == "https":
        rest, slash, after = rest.partition("/")
        path = slash + after if after else DEFAULT_PATH
        if not _TARGET.fullmatch(path):
            raise ValueError(f"expected a path such as {DEFAULT_PATH}, got {clip(path)}")
    elif "/" in rest:
        raise ValueError(f"tls addresses have no path, got {clip(text)}")
    host, port = _host_and_port(text, rest, scheme)
    address = _ip(host)
    if address is not None:
        if addresses:
            raise ValueError(f"'address' has no effect: {clip(text)} has an IP address already")
        name = server_name or fragment
        places = [_literal(host, text, scheme)]
    else:
        name = server_name or _name(host, text)
        places = [_literal(one, text, scheme) for one in addresses or ([fragment] if fragment else [])]
        if not places:
            example = f"tls://9.9.9.9#{host}" if scheme == "tls" else f"https://{host}{path}#9.9.9.9"
            raise ValueError(
                f"{clip(text)} has a host name, which cannot be looked up without a resolver: add its IP address, "
                f"as in {clip(example)}"
            )
    name = _name(name, text) if name else ""
    shown = name or (f"[{places[0]}]" if ":" in places[0] else places[0])
    if address is None:
        shown = _name(host, text)
    authority = (shown if port == PORTS["https"] else f"{shown}:{port}") if scheme == "https" else ""
    return [ResolverAddress(scheme, place, port, name or place, authority, path, ca or "") for place in places]


def _split_scheme(text: str) -> tuple[str, str]:
    scheme, mark, rest = text.partition("://")
    if not mark:
        return "udp", text
    scheme = scheme.lower()
    if scheme in PORTS:
        return scheme, rest
    if scheme in _NOT_SPOKEN:
        raise ValueError(
            f"resolvers are not asked over {clip(scheme)}: write {_NOT_SPOKEN[scheme]}://, got {clip(text)}"
        )
    close = _OTHER_NAMES.get(scheme) or next(iter(get_close_matches(scheme, tuple(PORTS), 1)), "")
    hint = f"did you mean '{close}://'?" if close else f"expected one of {', '.join(PORTS)}"
    raise ValueError(f"unknown scheme {clip(scheme)} in {clip(text)}; {hint}")


def _host_and_port(text: str, rest: str, scheme: str) -> tuple[str, int]:
    host, port = rest, str(PORTS[scheme])
    if host.startswith("["):
        host, _, after = host[1:].partition("]")
        if after and not after.startswith(":"):
            raise ValueError(f"expected an address such as [2620:fe::fe]:{port}, got {clip(text)}")
        port = after.removeprefix(":") or port
    elif host.count(":") == 1:
        host, _, port = host.partition(":")
    if not (port.isascii() and port.isdigit()) or not 1 <= int(port) <= 65_535:
        raise ValueError(f"expected a port from 1 to 65535, got {clip(text)}")
    return host.lower(), int(port)


def _ip(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _literal(host: str, text: str, scheme: str) -> str:
    """Return an IP address that can be connected to."""
    address = _ip(host)
    if address is None:
        example = "9.9.9.9 or [2620:fe::fe]:53" if scheme == "udp" else f"{scheme}://9.9.9.9"
        raise ValueError(f"expected a resolver's IP address such as {example}, got {clip(text)}")
    if address.is_unspecified or address.is_multicast or str(address) == "255.255.255.255":
        raise ValueError(f"{clip(str(address))} is no address of a single resolver: write its own, got {clip(text)}")
    return str(address)


def _name(name: str, text: str) -> str:
    """Return the name of a server in the form of certificates."""
    if _ip(name) is not None:
        return str(_ip(name))
    try:
        name = to_ascii(name).lower().rstrip(".")
    except ValueError as error:
        raise ValueError(f"{clip(name)} in {clip(text)} is {error}") from None
    if not _HOST.fullmatch(name):
        raise ValueError(f"{clip(name)} in {clip(text)} is not a valid host name")
    return name
