"""The data of DNSSEC's records, and the form in which record sets are signed (RFC 4034, RFC 5155). Pure.

Used by `dns.zone.signing` and by the modules beside it. Names are in wire form and in lower case.
"""

from __future__ import annotations

from base64 import b32hexencode
from collections.abc import Iterable
from hashlib import sha1, sha256
from struct import pack

from npserver.dns.message import codes
from npserver.dns.message.name import ROOT, WILDCARD, labels

ECDSA_P256, ED25519 = 13, 15  # algorithms (RFC 6605, RFC 8080)
SHA256_DIGEST = 2  # of a DS record (RFC 4509)
SHA1_HASH = 1  # of NSEC3, its only one
ZONE_KEY, ENTRY_POINT = 0x0100, 0x0001  # flags of a DNSKEY (RFC 4034 §2.1.1)
_PROTOCOL = 3  # of a DNSKEY, always (RFC 4034 §2.1.2)

#: No DS any more: the data of the CDS and the CDNSKEY record that ask for it (RFC 8078 §4).
DELETE_CDS, DELETE_CDNSKEY = bytes(4) + b"\0", pack("!HBB", 0, _PROTOCOL, 0) + b"\0"

#: Types whose data holds names that are signed in lower case: bytes before the names, and how many (RFC 4034 §6.2).
_NAMES_IN = {
    codes.NS: (0, 1),
    3: (0, 1),  # MD
    4: (0, 1),  # MF
    codes.CNAME: (0, 1),
    codes.SOA: (0, 2),
    7: (0, 1),  # MB
    8: (0, 1),  # MG
    9: (0, 1),  # MR
    codes.PTR: (0, 1),
    14: (0, 2),  # MINFO
    codes.MX: (2, 1),
    17: (0, 2),  # RP
    18: (2, 1),  # AFSDB
    21: (2, 1),  # RT
    26: (2, 2),  # PX
    codes.SRV: (6, 1),
    36: (2, 1),  # KX
    codes.DNAME: (0, 1),
}


def dnskey_data(flags: int, algorithm: int, public: bytes) -> bytes:
    """Return the data of a DNSKEY or CDNSKEY record (RFC 4034 §2.1)."""
    return pack("!HBB", flags, _PROTOCOL, algorithm) + public


def key_tag(dnskey: bytes) -> int:
    """Return the tag that RRSIG and DS records name a key by (RFC 4034 appendix B)."""
    total = sum([byte << 8 if position % 2 == 0 else byte for position, byte in enumerate(dnskey)])
    return total + (total >> 16) & 0xFFFF


def ds_data(owner: bytes, dnskey: bytes) -> bytes:
    """Return the data of the DS or CDS record of a key, with a SHA-256 digest (RFC 4034 §5.1, RFC 4509)."""
    return pack("!HBB", key_tag(dnskey), dnskey[3], SHA256_DIGEST) + sha256(owner + dnskey).digest()


def rrsig_head(
    rtype: int, algorithm: int, owner: bytes, ttl: int, validity: tuple[int, int], tag: int, signer: bytes
) -> bytes:
    """Return the data of an RRSIG record up to the signature (RFC 4034 §3.1).

    `validity`: inception and expiration in seconds since 1970, of which 32 bits are kept (§3.1.5).
    """
    inception, expiration = [when & 0xFFFFFFFF for when in validity]
    return pack("!HBBIIIH", rtype, algorithm, label_count(owner), ttl, expiration, inception, tag) + signer


def label_count(owner: bytes) -> int:
    """Return the number of labels of a name without the root and without the `*` of a wildcard (RFC 4034 §3.1.3)."""
    return len(labels(owner)) - owner.startswith(WILDCARD)


def signed_bytes(head: bytes, owner: bytes, rtype: int, ttl: int, data: Iterable[bytes]) -> bytes:
    """Return what a signature of a record set is made of (RFC 4034 §3.1.8.1). `head`: as of `rrsig_head`."""
    fixed = owner + pack("!HHI", rtype, codes.CLASS_IN, ttl)
    ordered = sorted({canonical_data(rtype, one) for one in data})
    return head + b"".join([fixed + len(one).to_bytes(2, "big") + one for one in ordered])


def canonical_data(rtype: int, data: bytes) -> bytes:
    """Return record data with its names in lower case, as they are signed (RFC 4034 §6.2)."""
    layout = _NAMES_IN.get(rtype)
    if layout is None:
        if rtype != codes.NAPTR:
            return data
        start = 4  # order, preference
        for _ in range(3):  # flags, service, regexp
            start += data[start] + 1
        layout = start, 1
    start, count = layout
    end = start
    for _ in range(count):
        while data[end]:
            end += data[end] + 1
        end += 1
    return data[:start] + data[start:end].lower() + data[end:]


def type_bitmap(types: Iterable[int]) -> bytes:
    """Return the bit map of types in NSEC and NSEC3 records (RFC 4034 §4.1.2)."""
    windows: dict[int, bytearray] = {}
    for rtype in sorted(types):
        bits = windows.setdefault(rtype >> 8, bytearray())
        index = rtype & 0xFF
        bits.extend(bytes(index // 8 + 1 - len(bits)))
        bits[index // 8] |= 0x80 >> index % 8
    return b"".join([bytes((window, len(bits))) + bits for window, bits in windows.items()])


def nsec3_hash(name: bytes, salt: bytes = b"", iterations: int = 0) -> bytes:
    """Return the hash of a name (RFC 5155 §5); by default without salt and further iterations (RFC 9276 §3.1)."""
    digest = sha1(name + salt, usedforsecurity=False).digest()
    for _ in range(iterations):
        digest = sha1(digest + salt, usedforsecurity=False).digest()
    return digest


def nsec3_owner(digest: bytes, zone: bytes) -> bytes:
    """Return the owner of the NSEC3 record of a hashed name."""
    return b"\x20" + b32hexencode(digest).lower() + zone


def nsec3_data(following: bytes, bitmap: bytes) -> bytes:
    """Return the data of an NSEC3 record (RFC 5155 §3.2). `following`: the next hash of the zone."""
    return NSEC3_PARAMETERS + b"\x14" + following + bitmap


#: SHA-1, no flags (every delegation has its record: no opt-out), no further iterations, no salt (RFC 9276 §3.1).
NSEC3_PARAMETERS = pack("!BBHB", SHA1_HASH, 0, 0, 0)


def canonical_key(name: bytes) -> bytes:
    """Return bytes that sort as names do in the canonical order (RFC 4034 §6.1): by labels, the last one first."""
    if name == ROOT:
        return b""
    parts = labels(name)
    parts.reverse()
    if b"\0" in name[:-1] or b"\1" in name:
        parts = [one.replace(b"\1", b"\1\2").replace(b"\0", b"\1\1") for one in parts]
    return b"\0".join(parts) + b"\0"
