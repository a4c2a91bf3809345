"""Whether the data of a record has the form of its type: what other servers send is served as it is. Pure.

Checked are the types that this program looks into, when it answers from them, signs them or compresses names in them,
and whether others that it knows are long enough. Of all others it copies the bytes (RFC 3597).
"""

from __future__ import annotations

from collections.abc import Callable

from npserver.dns.message import codes
from npserver.dns.message.dnssec import SHA1_HASH
from npserver.dns.message.query import name_end

_RRSIG_FIXED = 18  # bytes before the signer's name (RFC 4034 §3.1)
_SIZES = {codes.A: 4, codes.AAAA: 16}
#: Bytes before the names in the data, the number of names, and of the bytes after them; None if there may be any.
_NAMES: dict[int, tuple[int, int, int | None]] = {
    codes.NS: (0, 1, 0),
    codes.CNAME: (0, 1, 0),
    codes.PTR: (0, 1, 0),
    codes.DNAME: (0, 1, 0),
    codes.MX: (2, 1, 0),
    codes.SRV: (6, 1, 0),
    codes.SOA: (0, 2, 20),
    codes.SVCB: (2, 1, None),
    codes.HTTPS: (2, 1, None),
    3: (0, 1, 0),  # MD
    4: (0, 1, 0),  # MF
    7: (0, 1, 0),  # MB
    8: (0, 1, 0),  # MG
    9: (0, 1, 0),  # MR
    14: (0, 2, 0),  # MINFO
    17: (0, 2, 0),  # RP
    18: (2, 1, 0),  # AFSDB
    21: (2, 1, 0),  # RT
    26: (2, 2, 0),  # PX
    36: (2, 1, 0),  # KX
}
#: Types without names: how many bytes they have at least.
_LEAST = {codes.SSHFP: 3, codes.TLSA: 4, codes.CDS: 5, codes.CDNSKEY: 5, codes.OPENPGPKEY: 1, codes.URI: 5}
_LOC_BYTES = 16  # of version 0, the only one (RFC 1876 §2)
#: OPT, and those that are only asked for, or stand for a whole message (RFC 6895 §3.1).
_META = frozenset({0, codes.OPT, *range(128, 256)})


def has_form(rtype: int, data: bytes) -> bool:
    """Whether data can be that of a record of a zone. The names in it are whole."""
    if rtype in _META:
        return False
    size = _SIZES.get(rtype)
    if size is not None:
        return len(data) == size
    if rtype in _SIGNED:
        return _SIGNED[rtype](data)
    if rtype == codes.TXT:
        return _are_strings(data)
    if rtype in _LEAST:
        return len(data) >= _LEAST[rtype]
    if rtype == codes.LOC:
        return data[:1] != b"\0" or len(data) == _LOC_BYTES
    if rtype == codes.NAPTR:
        return _is_naptr(data)
    form = _NAMES.get(rtype)
    if form is None:
        return True
    before, count, after = form
    position = before
    for _ in range(count):
        end = name_end(data, position)
        if end is None:
            return False
        position = end
    return after is None or len(data) - position == after


def _is_naptr(data: bytes) -> bool:
    """RFC 3403 §4.1: order and preference, three strings, a name."""
    position = 4
    for _ in range(3):
        if position >= len(data):
            return False
        position += 1 + data[position]
    return position < len(data) and name_end(data, position) == len(data)


def _is_rrsig(data: bytes) -> bool:
    end = name_end(data, _RRSIG_FIXED) if len(data) > _RRSIG_FIXED else None
    return end is not None and end < len(data)


def _is_nsec(data: bytes) -> bool:
    end = name_end(data, 0)
    return end is not None and _is_bitmap(data[end:])


def _is_nsec3(data: bytes) -> bool:
    """RFC 5155 §3.2, with hashes of SHA-1, as there are no others."""
    if len(data) < 6 or data[0] != SHA1_HASH:
        return False
    position = 5 + data[4]
    return data[position : position + 1] == b"\x14" and len(data) >= position + 21 and _is_bitmap(data[position + 21 :])


def _is_bitmap(data: bytes) -> bool:
    """Whether data are types, in windows that rise (RFC 4034 §4.1.2)."""
    position, window = 0, -1
    while position + 2 < len(data):
        if data[position] <= window or not 0 < data[position + 1] <= 32:
            return False
        window = data[position]
        position += 2 + data[position + 1]
    return position == len(data)


#: What is read of the records of signed zones.
_SIGNED: dict[int, Callable[[bytes], bool]] = {
    codes.RRSIG: _is_rrsig,
    codes.NSEC: _is_nsec,
    codes.NSEC3: _is_nsec3,
    codes.NSEC3PARAM: lambda data: len(data) >= 5 and len(data) == 5 + data[4],
    codes.DNSKEY: lambda data: len(data) > 4,
    codes.DS: lambda data: len(data) > 4,
}


def _are_strings(data: bytes) -> bool:
    position = 0
    while position < len(data):
        position += 1 + data[position]
    return position == len(data) > 0
