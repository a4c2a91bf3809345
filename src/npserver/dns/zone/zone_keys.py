"""The keys of a signed zone, by what they do. Made by `nameserver.dnssec`, used by `dns.zone.signing`. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key, by what it does."""

    algorithm: int
    tag: int
    sign: Callable[[bytes], bytes]  # returns the signature in DNSSEC's form


@dataclass(frozen=True, slots=True)
class ZoneKeys:
    """The keys of a zone at one time, and what is published of them."""

    version: int  # rises with each change of the keys, and of what they do
    dnskeys: tuple[bytes, ...]  # data of the DNSKEY records
    of_keys: tuple[SigningKey, ...]  # sign these
    of_zone: tuple[SigningKey, ...]  # sign all else
    ds: tuple[bytes, ...] = ()  # data of the DS records that a parent of ours has
    cds: tuple[bytes, ...] = ()
    cdnskeys: tuple[bytes, ...] = ()
