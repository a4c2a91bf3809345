"""Asks the name servers of a zone's parent for its DS record, before a roll-over goes on (RFC 7583 §3.3.1).

They are given, or found by the resolvers of the system. Each of them has to answer, as the authority that it is, and to
have the DS record of the new key: a key whose successor one of them does not know must stay. Everything goes over TCP,
which nobody beside the path can answer, within bounds of size, number and time. Called by `nameserver.dnssec.service`.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Sequence
from hashlib import sha256, sha384
from ipaddress import ip_address
from pathlib import Path

from msgspec import Struct

from npserver.dns.message import codes
from npserver.dns.message.dnssec import key_tag
from npserver.dns.message.header import AA, HEADER_BYTES, QR, TC
from npserver.dns.message.name import ROOT, parent, to_text
from npserver.dns.message.query import make_question
from npserver.dns.message.sections import ANSWER, Record, read_records
from npserver.dns.zone.tables import ancestors
from npserver.nameserver.transfers.peers import PORT, show_address

RESOLV_CONF = "/etc/resolv.conf"
MAX_RESOLVERS, MAX_SERVERS, MAX_ADDRESSES = 3, 20, 4
ANSWER_S, ALL_S = 5.0, 90.0
_DIGESTS = {2: sha256, 4: sha384}  # of DS records (RFC 4509, RFC 6605)

Address = tuple[str, int]


class Servers(Struct, frozen=True):
    """Where a parent is asked: at its name servers, or, if none are given, at those that resolvers tell."""

    given: tuple[Address, ...] = ()
    resolvers: tuple[Address, ...] | None = None  # None: those of the system


class Said(Struct, frozen=True):
    """What the parent has said. `has_ds` is None if that is not known; `ttl` is the largest of a DS record set."""

    has_ds: bool | None
    text: str
    ttl: int = 0


class _Failed(Exception):
    """A server has not answered as it must."""


async def ask_parent(apex: bytes, dnskey: bytes, servers: Servers) -> Said:
    """Return whether all name servers of a parent have a DS record of a key. `dnskey`: the data of its record."""
    if apex == ROOT:
        return Said(None, "the root has no parent")
    try:
        async with asyncio.timeout(ALL_S):
            return await _ask_all(apex, dnskey, servers)
    except TimeoutError:
        return Said(None, f"the parent has not answered within {ALL_S:g} s")
    except _Failed as error:
        return Said(None, str(error))


async def _ask_all(apex: bytes, dnskey: bytes, servers: Servers) -> Said:
    named = [(show_address(*one), [one]) for one in servers.given] or await _find(apex, servers)
    asked = await asyncio.gather(*[_ask_server(apex, addresses) for _, addresses in named])
    silent, without, ttl = [], [], 0
    for (name, _), found in zip(named, asked, strict=True):
        if isinstance(found, str):
            silent.append(f"{name}: {found}")
        else:
            ttl = max([ttl, *[one.ttl for one in found]])
            if not any(_is_of(one.data, apex, dnskey) for one in found):
                without.append(name)
    if without:
        return Said(False, f"{', '.join(without)} has no DS record of key {key_tag(dnskey)}", ttl)
    if silent:
        return Said(None, "; ".join(silent), ttl)
    return Said(True, f"{', '.join([name for name, _ in named])} has the DS record of key {key_tag(dnskey)}", ttl)


def _is_of(ds: bytes, apex: bytes, dnskey: bytes) -> bool:
    """Whether the data of a DS record is of a key (RFC 4034 §5.1.4)."""
    digest = _DIGESTS.get(ds[3]) if len(ds) > 4 else None
    if digest is None or int.from_bytes(ds[:2], "big") != key_tag(dnskey) or ds[2] != dnskey[3]:
        return False
    return ds[4:] == digest(apex + dnskey).digest()


async def _ask_server(apex: bytes, addresses: Sequence[Address]) -> list[Record] | str:
    """Return the DS records that a name server has; a text if it has not answered at any of its addresses.

    Those of one address count that lacks what another one has.
    """
    found: list[list[Record]] = []
    failure = "it has no address"
    for address in addresses[:MAX_ADDRESSES]:
        try:
            found.append(await _ask(address, apex, codes.DS, is_authority=True))
        except _Failed as error:
            failure = str(error)
    return min(found, key=len) if found else failure


# ── the parent's name servers ──


async def _find(apex: bytes, servers: Servers) -> list[tuple[str, list[Address]]]:
    """Return the names of the parent's name servers, with their addresses."""
    resolvers = _system_resolvers() if servers.resolvers is None else servers.resolvers
    if not resolvers:
        raise _Failed("there is no resolver to find the parent by")
    names: list[bytes] = []
    for above in ancestors(parent(apex)):
        names = [one.data.lower() for one in await _resolve(resolvers, above, codes.NS)]
        if names:
            break
    if not names:
        raise _Failed("the resolvers know no name servers of the parent")
    if len(names) > MAX_SERVERS:
        raise _Failed(f"the parent has {len(names)} name servers, at most {MAX_SERVERS} are asked")
    found = await asyncio.gather(*[_addresses(resolvers, name) for name in names])
    return [(to_text(name), addresses) for name, addresses in zip(names, found, strict=True)]


async def _addresses(resolvers: Sequence[Address], name: bytes) -> list[Address]:
    records = await _resolve(resolvers, name, codes.A) or await _resolve(resolvers, name, codes.AAAA)
    return [(str(ip_address(one.data)), PORT) for one in records if len(one.data) in (4, 16)][:MAX_ADDRESSES]


async def _resolve(resolvers: Sequence[Address], name: bytes, rtype: int) -> list[Record]:
    failure = _Failed("no resolver answers")
    for address in resolvers[:MAX_RESOLVERS]:
        try:
            return await _ask(address, name, rtype, is_authority=False)
        except _Failed as error:
            failure = error
    raise failure


def _system_resolvers() -> list[Address]:
    found = []
    with contextlib.suppress(OSError, ValueError):
        for line in Path(RESOLV_CONF).read_text("utf-8", "replace").splitlines():
            words = line.split()
            if len(words) > 1 and words[0] == "nameserver":
                found.append((str(ip_address(words[1])), PORT))
    return found


# ── one question ──


async def _ask(address: Address, name: bytes, rtype: int, *, is_authority: bool) -> list[Record]:
    """Return the records of a name and type that a server has; none if there are none. Raises: _Failed."""
    request = make_question(secrets.randbelow(1 << 16), name, rtype, is_for_resolver=not is_authority)
    try:
        async with asyncio.timeout(ANSWER_S):
            reply = await _exchange(address, request)
    except TimeoutError:
        raise _Failed(f"{show_address(*address)} does not answer within {ANSWER_S:g} s") from None
    except (OSError, asyncio.IncompleteReadError) as error:
        raise _Failed(f"{show_address(*address)} cannot be asked: {error or type(error).__name__}") from None
    return _read(address, request, reply, is_authority=is_authority)


async def _exchange(address: Address, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(len(request).to_bytes(2, "big") + request)
        return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
    finally:
        writer.transport.abort()


def _read(address: Address, request: bytes, reply: bytes, *, is_authority: bool) -> list[Record]:
    """Return the records of an answer. Raises: _Failed if it is none, or is not of the authority that was asked."""
    end = len(request)
    if len(reply) < end or reply[:2] != request[:2] or reply[4:6] != b"\0\1":
        raise _Failed(f"{show_address(*address)} does not answer the question")
    if reply[HEADER_BYTES:end].lower() != request[HEADER_BYTES:end].lower():
        raise _Failed(f"{show_address(*address)} answers another question")
    flags = int.from_bytes(reply[2:4], "big")
    rcode = flags & 0xF
    if not flags & QR or flags & TC:
        raise _Failed(f"{show_address(*address)} does not answer the question")
    if rcode not in (codes.NOERROR, codes.NXDOMAIN):
        raise _Failed(f"{show_address(*address)} answers {codes.rcode_name(rcode)}")
    if is_authority and not flags & AA:
        raise _Failed(f"{show_address(*address)} is no authority for the parent")
    name, rtype = request[HEADER_BYTES : end - 4].lower(), int.from_bytes(request[end - 4 : end - 2], "big")
    try:
        records = [one for one in read_records(reply, 1) if one.section == ANSWER]
    except ValueError as error:
        raise _Failed(f"{show_address(*address)} sends a malformed message: {error}") from None
    return [one for one in records if (one.owner.lower(), one.rtype, one.rclass) == (name, rtype, codes.CLASS_IN)]
