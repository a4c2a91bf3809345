"""Protection from DNS rebinding: which records lead into a private network. Pure.

A page of the internet whose name is answered with an address of the home network has its scripts talk to the devices
there, as the browser takes these for the page's own server. So answers of resolvers on the internet have no private
addresses (`rebind_protection`), except for names that are known to have them. Used by `nameserver.resolver.answer`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from npserver.dns.message import codes
from npserver.dns.message.sections import Record, read_name

_MAPPED, _COMPATIBLE = bytes(10) + b"\xff\xff", bytes(12)  # RFC 4291 §2.5.5; the latter with :: and ::1
_NAT64 = b"\0\x64\xff\x9b" + bytes(8)  # RFC 6052 §2.1
_IPV4 = frozenset({_MAPPED, _COMPATIBLE, _NAT64})
_6TO4 = b"\x20\x02"  # RFC 3056 §2
_HINT_BYTES = {4: 4, 6: 16}  # ipv4hint and ipv6hint of SVCB and HTTPS records (RFC 9460 §7.3): bytes of an address


def is_private(address: bytes) -> bool:
    """Return whether an address of 4 or 16 bytes leads to this machine, or into a private or shared network.

    They are 0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16,
    255.255.255.255, fc00::/7, fe80::/10, fec0::/10, :: and ::1, and IPv6 addresses that stand for one of IPv4 in these.
    """
    first, second = address[:2]
    if len(address) == 16:
        if address[:12] in _IPV4:
            return is_private(address[12:])
        if address[:2] == _6TO4:
            return is_private(address[2:6])
        return first & 0xFE == 0xFC or (first == 0xFE and second >= 0x80)
    if first in (0, 10, 127) or address == b"\xff\xff\xff\xff":
        return True
    shared = {100: range(64, 128), 169: (254,), 172: range(16, 32), 192: (168,)}
    return second in shared.get(first, ())


def leads_inside(records: Iterable[Record]) -> bool:
    """Return whether a record has a private address: A, AAAA, and the hints of SVCB and HTTPS."""
    return any(is_private(address) for record in records for address in _addresses(record))


def _addresses(record: Record) -> Iterator[bytes]:
    data = record.data
    if record.rtype in (codes.A, codes.AAAA):
        if len(data) in (4, 16):
            yield data
    elif record.rtype in (codes.SVCB, codes.HTTPS):
        try:
            _, position = read_name(data, 2)
        except (ValueError, IndexError):
            return  # no client can read it either
        while position + 4 <= len(data):
            key, length = (int.from_bytes(data[at : at + 2], "big") for at in (position, position + 2))
            position += 4
            size = _HINT_BYTES.get(key, 0)
            if size:
                end = min(position + length, len(data))
                yield from [data[at : at + size] for at in range(position, end - size + 1, size)]
            position += length
