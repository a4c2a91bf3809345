"""Who asked, through which proxies: `X-Forwarded-*`, `Forwarded` (RFC 7239) and `Via` (RFC 9110 §7.6.3). Pure.

What a client says of itself is believed only if it comes from a trusted proxy; from anybody else it is thrown away.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

from npserver.regex import regex

if TYPE_CHECKING:
    from npserver.networks import AddressSet

MAX_HOPS = 64  # entries looked at, from the nearest

#: A pair of a forwarded element; a quoted value is taken whole, so that nothing inside it looks like another pair. A
#: name is tried from its first octet only: from each of them, a long one would take the square of its length.
_NAME = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_PAIR = regex(rb'(?<!%b)(%b+)=(?:"((?:[^"\\]|\\.)*)"|([^;,"\s]*))' % (_NAME, _NAME))


def client_address(peer_ip: str, fields: dict[bytes, bytes], trusted: AddressSet) -> str:
    """The client's address: the nearest in the chain that is no trusted proxy.

    `fields` are a request's, in lower case. `X-Forwarded-For` counts, `Forwarded` where there is none. An entry that is
    no address ends the chain: what lies behind it cannot be attributed to anyone.
    """
    if peer_ip not in trusted:
        return peer_ip
    chain = fields.get(b"x-forwarded-for")
    if chain is not None:
        hops = chain.split(b",")
    elif (forwarded := fields.get(b"forwarded")) is not None:
        hops = _values(forwarded, b"for")
    else:
        return peer_ip
    nearest = peer_ip
    for hop in reversed(hops[-MAX_HOPS:]):
        address = parse_hop(hop)
        if address is None:
            return nearest
        nearest = address
        if address not in trusted:
            return nearest
    return nearest


def client_scheme(fields: dict[bytes, bytes]) -> str | None:
    """The scheme that a trusted proxy says its client used; None if it says none that we know."""
    scheme = fields.get(b"x-forwarded-proto", b"").rpartition(b",")[2].strip().lower()
    if not scheme and (values := _values(fields.get(b"forwarded", b""), b"proto")):
        scheme = values[-1].lower()
    return scheme.decode() if scheme in (b"http", b"https") else None


def _values(forwarded: bytes, name: bytes) -> list[bytes]:
    """All values of a parameter, in order (RFC 7239 §4)."""
    return [quoted or plain for key, quoted, plain in _PAIR.findall(forwarded) if key.lower() == name]


@lru_cache(maxsize=4096)
def parse_hop(hop: bytes) -> str | None:
    """An entry of a chain as an address in canonical form, without port; None if it is none (`unknown`, `_hidden`)."""
    text = hop.strip(b' \t"').decode("latin-1")
    if text.startswith("["):
        text, bracket, port = text[1:].partition("]")
        if not bracket or (port and not (port[0] == ":" and port[1:].isdigit())):
            return None
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
        if not port.isdigit():
            return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.scope_id:
            return None
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
    return str(address)


def forwarded_element(client_ip: str, scheme: str, host: str) -> bytes:
    """One element of `Forwarded` (RFC 7239 §4): what this proxy knows of the request."""
    if client_ip in ("", "unix:"):
        node = "unknown"
    else:
        node = f'"[{client_ip}]"' if ":" in client_ip else client_ip
    text = f"for={node};proto={scheme}"
    if host:
        text += f";host={host}" if re.fullmatch(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", host) else f';host="{host}"'
    return text.encode("latin-1")


@lru_cache(maxsize=1024)
def is_identity(name: bytes) -> bool:
    """Whether a field (lower case) says who the client is, also where an application reads `_` as `-` (CGI, WSGI)."""
    plain = name.replace(b"_", b"-")
    return plain.startswith(b"x-forwarded-") or plain in (b"x-real-ip", b"forwarded")
