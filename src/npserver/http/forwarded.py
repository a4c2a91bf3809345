"""The client's address and scheme behind proxies: `X-Forwarded-*`, and `Forwarded` (RFC 7239). Pure.

These fields are believed only if they come from a trusted proxy; those of any other client are dropped.
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

from npserver.http.field_names import TOKEN, fold
from npserver.http.memo import Memo, is_short
from npserver.networks import UNIX_PEER
from npserver.regex import regex

if TYPE_CHECKING:
    from npserver.networks import AddressSet

MAX_HOPS = 64  # addresses read of a chain, from the nearest proxy on

#: A `name=value` pair of a Forwarded element. A quoted value is matched whole, so that its text cannot pass for another
#: pair. The look-behind tries a name from its first octet only, which keeps the time linear in the length of a name.
_NAME = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_PAIR = regex(rb'(?<!%b)(%b+)=(?:"((?:[^"\\]|\\.)*)"|([^;,"\s]*))' % (_NAME, _NAME))


def client_address(peer_ip: str, fields: dict[bytes, bytes], trusted: AddressSet) -> str:
    """Return the client's address: the nearest address of the forwarding chain that is not a trusted proxy.

    The chain is X-Forwarded-For, or Forwarded if there is none. It ends at an entry that is not an address, because
    the entries beyond cannot be attributed to anyone.

    Args:
        peer_ip: who sent the request: the nearest address of the chain.
        fields: the request's fields by lower-case name.
        trusted: the addresses of trusted proxies.
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
        if not hop.strip():
            continue  # an empty element of a list means nothing (RFC 9110 §5.6.1.2)
        address = parse_hop(hop)
        if address is None:
            return nearest
        nearest = address
        if address not in trusted:
            return nearest
    return nearest


def client_scheme(fields: dict[bytes, bytes]) -> str | None:
    """Return the scheme that a trusted proxy says its client used, `http` or `https`; None if it does not say."""
    scheme = fields.get(b"x-forwarded-proto", b"").rpartition(b",")[2].strip().lower()
    if not scheme and (values := _values(fields.get(b"forwarded", b""), b"proto")):
        scheme = values[-1].lower()
    return scheme.decode() if scheme in (b"http", b"https") else None


def _values(forwarded: bytes, name: bytes) -> list[bytes]:
    """Return all values of the parameter `name` of a Forwarded field, in order (RFC 7239 §4)."""
    return [quoted or plain for key, quoted, plain in _PAIR.findall(forwarded) if key.lower() == name]


def parse_hop(hop: bytes) -> str | None:
    """Return an entry of a chain as a canonical IP address without port; None for any other (`unknown`, `_hidden`)."""
    return _hops[hop]


def _parse_hop(hop: bytes) -> str | None:
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


_hops: Memo[bytes, str | None] = Memo(_parse_hop, 4096, is_short)


def forwarded_element(client_ip: str, scheme: str, host: str) -> bytes:
    """Return an element of a Forwarded field (RFC 7239 §4).

    Args:
        client_ip: who sent us the request; empty or `unix:` for a Unix socket's peer.
        scheme: the scheme it used.
        host: the authority it named, if any.
    """
    if client_ip in ("", UNIX_PEER):
        node = "unknown"
    else:
        node = f'"[{client_ip}]"' if ":" in client_ip else client_ip
    text = f"for={node};proto={scheme}"
    if host:
        text += f";host={host}" if TOKEN.fullmatch(host) else f';host="{host}"'
    return text.encode("latin-1")


def is_identity(name: bytes) -> bool:
    """Return whether the field `name`, in lower case, tells who the client is, or may be taken for one that does."""
    return _identities[name]


def _is_identity(name: bytes) -> bool:
    folded = fold(name)
    return folded.startswith(b"x-forwarded-") or folded in (b"x-real-ip", b"forwarded")


_identities = Memo(_is_identity, 1024, is_short)
