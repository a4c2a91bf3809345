"""Checks a signed answer as a validator does: its signatures by dnspython, proofs by RFC 4035 §5.4 and RFC 5155 §8."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dns.dnssec
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype as rt
import dns.rrset

#: Zones below signed ones that are not signed.
INSECURE = (dns.name.from_text("plain.example.com"),)


_VALID: set[tuple[str, str, str]] = set()


class Bogus(AssertionError):
    """An answer that a validator refuses."""


def check(reply: dns.message.Message, apexes: list[dns.name.Name], keys: Callable[[dns.name.Name], Any],
          now: float) -> None:  # fmt: skip
    """Raise `Bogus` unless all that an answer says of the signed zones `apexes` is proved.

    `keys`: returns the DNSKEY record set of a zone, which is trusted.
    """
    is_referral = not reply.flags & dns.flags.AA
    for section in (reply.answer, reply.authority, reply.additional):
        for rrset in section:
            if rrset.rdtype == rt.RRSIG:
                continue
            zone = _zone_of(rrset.name, apexes, rrset.rdtype)
            is_cut = rrset.rdtype == rt.NS and rrset.name not in apexes
            if zone is None or is_cut or (section is reply.additional and (is_referral or _below_cut(rrset, reply))):
                continue
            signatures = reply.get_rrset(section, rrset.name, rrset.rdclass, rt.RRSIG, rrset.rdtype)
            if signatures is None and _is_made(rrset, reply):
                continue
            if signatures is None:
                raise Bogus(f"{rrset.name} {rt.to_text(rrset.rdtype)} is not signed")
            zone = signatures[0].signer
            if zone not in apexes or not rrset.name.is_subdomain(zone):
                raise Bogus(f"{rrset.name} is signed by {zone}")
            _validate(rrset, signatures, zone, keys(zone), now)
            if any(one.labels < _labels(rrset.name) for one in signatures):
                _proved_missing(reply, rrset.name, zone, encloser=_last_labels(rrset.name, signatures[0].labels))
    question = reply.question[0]
    name, kind = question.name, question.rdtype
    seen = {name}
    while kind not in (rt.CNAME, rt.RRSIG, rt.ANY) and (
        alias := reply.get_rrset(reply.answer, name, question.rdclass, rt.CNAME)
    ):
        name = alias[0].target
        if name in seen:
            return
        seen.add(name)
    zone = _zone_of(name, apexes, kind)
    if zone is None or kind in (rt.RRSIG, rt.ANY) or _is_too_long(name, reply):
        return
    ends = any(one.rdtype in (rt.SOA, rt.NS) for one in reply.authority) or reply.rcode()
    if name != question.name and not ends and reply.get_rrset(reply.answer, name, question.rdclass, kind) is None:
        return  # aliases that lead back: a validator asks for the rest itself
    if is_referral or any(one.rdtype == rt.NS and one.name not in apexes for one in reply.authority):
        _check_referral(reply, zone)
    elif reply.rcode() == dns.rcode.NXDOMAIN:
        _proved_missing(reply, name, zone)
    elif reply.get_rrset(reply.answer, name, question.rdclass, kind) is None:
        _proved_without(reply, name, kind, zone)


def _is_made(alias: dns.rrset.RRset, reply: dns.message.Message) -> bool:
    """Whether a CNAME is made of a DNAME of the answer, whose signature is checked as that of all records."""
    if alias.rdtype != rt.CNAME:
        return False
    return any(one.rdtype == rt.DNAME and _stands_for(one, alias.name, alias[0].target) for one in reply.answer)


def _is_too_long(name: dns.name.Name, reply: dns.message.Message) -> bool:
    """Whether the answer is that a DNAME leads to a name that is too long."""
    if reply.rcode() != dns.rcode.YXDOMAIN:
        return False
    if not any(one.rdtype == rt.DNAME and _stands_for(one, name, None) for one in reply.answer):
        raise Bogus(f"{name}: no DNAME makes it too long")
    return True


def _stands_for(redirection: dns.rrset.RRset, name: dns.name.Name, target: dns.name.Name | None) -> bool:
    """Whether a DNAME leads a name to a target (RFC 6672 §2.2); None: to one that is too long."""
    if not name.is_subdomain(redirection.name) or name == redirection.name:
        return False
    try:
        return name.relativize(redirection.name).concatenate(redirection[0].target) == target
    except dns.name.NameTooLong:
        return target is None


def _validate(rrset: Any, signatures: Any, zone: dns.name.Name, keys: Any, now: float) -> None:
    """Check the signatures of a record set, once."""
    place = rrset.to_text(), signatures.to_text(), keys.to_text()
    if place in _VALID:
        return
    try:
        dns.dnssec.validate(rrset, signatures, {zone: keys}, now=now)
    except dns.dnssec.ValidationFailure as error:
        raise Bogus(f"{rrset}: {error}") from error
    _VALID.add(place)


def _check_referral(reply: dns.message.Message, zone: dns.name.Name) -> None:
    cut = next(one.name for one in reply.authority if one.rdtype == rt.NS)
    if not any(one.rdtype == rt.DS and one.name == cut for one in reply.authority):
        types = _matching(reply, cut, zone)
        if types is None or rt.DS in types or rt.SOA in types or rt.NS not in types:
            raise Bogus(f"{cut}: no proof that it has no DS record")


def _proved_without(reply: dns.message.Message, name: dns.name.Name, kind: int, zone: dns.name.Name) -> None:
    """The name exists without the type, or a wildcard stands for it that has it not."""
    types = _matching(reply, name, zone)
    if types is None and any(
        one.rdtype == rt.NSEC and _covers(one, name) and one[0].next.is_subdomain(name) for one in reply.authority
    ):
        return  # a name without records, above others
    if types is None:
        encloser = _proved_missing(reply, name, zone, has_wildcard=True)
        types = _matching(reply, dns.name.Name((b"*",)) + encloser, zone)
        if (
            types is None
            and _nsec_of(reply)
            and any(one[0].next.is_subdomain(dns.name.Name((b"*",)) + encloser) for one in _nsec_of(reply))
        ):
            return  # a wildcard without records, above others
    if types is None or kind in types or rt.CNAME in types:
        raise Bogus(f"{name}: no proof that it has no {rt.to_text(kind)}")


def _proved_missing(
    reply: dns.message.Message, name: dns.name.Name, zone: dns.name.Name,
    encloser: dns.name.Name | None = None, *, has_wildcard: bool = False,
) -> dns.name.Name:  # fmt: skip
    """Return the closest encloser. `encloser`: a wildcard below it stands for the name."""
    if nsecs := _nsec_of(reply):
        covering = [one for one in nsecs if _covers(one, name)]
        if not covering:
            raise Bogus(f"{name}: no NSEC covers it")
        common = [name.fullcompare(other)[2] for one in covering for other in (one.name, one[0].next)]
        found = encloser or name.split(max(common))[1]
        wildcard = dns.name.Name((b"*",)) + found
        if not encloser and not has_wildcard and not any(_covers(one, wildcard) for one in nsecs):
            raise Bogus(f"{wildcard}: no NSEC covers it")
        return found
    candidate = name
    while True:
        above = candidate.parent()
        if (encloser is not None and above == encloser) or (
            encloser is None and _nsec3(reply, above, zone, exact=True)
        ):
            break
        if above == zone.parent():
            raise Bogus(f"{name}: no closest encloser")
        candidate = above
    if not _nsec3(reply, candidate, zone, exact=False):
        raise Bogus(f"{candidate}: no NSEC3 covers it")
    wildcard = dns.name.Name((b"*",)) + above
    if not encloser and not has_wildcard and not _nsec3(reply, wildcard, zone, exact=False):
        raise Bogus(f"{wildcard}: no NSEC3 covers it")
    return above


def _matching(reply: dns.message.Message, name: dns.name.Name, zone: dns.name.Name) -> set[int] | None:
    """Return the types that the NSEC or NSEC3 record of a name tells."""
    for one in reply.authority:
        if one.rdtype == rt.NSEC and one.name == name:
            return _types(one[0].windows)
    found = _nsec3(reply, name, zone, exact=True)
    return None if found is None else _types(found[0].windows)


def _nsec3(
    reply: dns.message.Message, name: dns.name.Name, zone: dns.name.Name, *, exact: bool
) -> dns.rrset.RRset | None:
    digest = dns.dnssec.nsec3_hash(name, None, 0, "SHA1").upper()
    for one in reply.authority:
        if one.rdtype != rt.NSEC3 or one.name.parent() != zone:
            continue
        own, following = one.name.labels[0].decode().upper(), one[0].next_name().labels[0].decode().upper()
        if digest == own if exact else _between(own, digest, following):
            return one
    return None


def _covers(one: dns.rrset.RRset, name: dns.name.Name) -> bool:
    own, following = one.name, one[0].next
    types = _types(one[0].windows)
    if name.is_subdomain(own) and name != own and ((rt.NS in types and rt.SOA not in types) or rt.DNAME in types):
        return False  # of the zone above a cut, or above a DNAME (RFC 6840 §4.1)
    return own < name < following if own < following else (own < name or name < following)


def _between(own: str, digest: str, following: str) -> bool:
    return own < digest < following if own < following else (own < digest or digest < following)


def _types(windows: Any) -> set[int]:
    return {
        window * 256 + at * 8 + bit
        for window, bits in windows
        for at, byte in enumerate(bits)
        for bit in range(8)
        if byte & 0x80 >> bit
    }


def _nsec_of(reply: dns.message.Message) -> list[dns.rrset.RRset]:
    return [one for one in reply.authority if one.rdtype == rt.NSEC]


def _zone_of(name: dns.name.Name, apexes: list[dns.name.Name], kind: int) -> dns.name.Name | None:
    """Return the signed zone that has records of a type at a name."""
    above = [one for one in (*apexes, *INSECURE) if name.is_subdomain(one) and (kind != rt.DS or name != one)]
    found = max(above, key=len, default=None)
    return None if found in INSECURE else found


def _below_cut(rrset: dns.rrset.RRset, reply: dns.message.Message) -> bool:
    return any(
        one.rdtype == rt.NS and rrset.name.is_subdomain(one.name) and one.name != rrset.name for one in reply.authority
    )


def _labels(name: dns.name.Name) -> int:
    return len(name) - 1 - (name.labels[0] == b"*")


def _last_labels(name: dns.name.Name, count: int) -> dns.name.Name:
    return dns.name.Name(name.labels[-count - 1 :])
