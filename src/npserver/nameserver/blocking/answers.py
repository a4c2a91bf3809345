"""The answers to questions about blocked names, and the names that an answer of a resolver leads to. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from struct import pack

from msgspec import Struct

from npserver.dns.message import codes
from npserver.dns.message.edns import extended_error, make_opt
from npserver.dns.message.header import QR, RA, RD
from npserver.dns.message.name import parse_host
from npserver.dns.message.query import Query
from npserver.dns.message.sections import read_name, read_records
from npserver.nameserver.blocking.list_format import Action

_DNAME = 39
_OWNER = b"\xc0\x0c"  # a pointer to the name in the question
_SOA_NAMES = parse_host("blocked.invalid") + parse_host("nobody.invalid")
_SOA_TIMES = (1, 3600, 600, 86_400)  # serial, refresh, retry, expire

#: Types of records that lead to another name, as they stand in a message, before the class IN.
_LEADING = tuple(pack("!HH", kind, codes.CLASS_IN) for kind in (codes.CNAME, _DNAME, codes.SVCB, codes.HTTPS))


class BlockedAnswer(Struct, frozen=True):
    """What is answered for what is blocked, where the list does not say it."""

    name: str  # `nxdomain`, `nodata`, `refused`, `zero` or `address`
    ttl: int
    addresses: dict[int, tuple[bytes, ...]] = {}  # by type, for `zero` and `address`


class BlockedReply(bytes):
    """A reply that says which key of the config has decided, for the log."""

    key: str = ""


def make_reply(query: Query, action: Action, answer: BlockedAnswer, reason: str = "") -> bytes:
    """Return the reply to a blocked query; with EDNS it says that the name is blocked, and by what (RFC 8914)."""
    rcode, records, counts = codes.NOERROR, b"", (0, 0)
    addresses = answer.addresses.get(query.qtype, ()) if action is Action.BLOCK else ()
    if action is Action.REFUSE or (action is Action.BLOCK and answer.name == "refused"):
        rcode = codes.REFUSED
    elif addresses:
        head = _OWNER + pack("!HHI", query.qtype, codes.CLASS_IN, answer.ttl)
        records = b"".join([head + len(one).to_bytes(2, "big") + one for one in addresses])
        counts = len(addresses), 0
    else:
        is_missing = action is Action.NXDOMAIN or (action is Action.BLOCK and answer.name == "nxdomain")
        rcode = codes.NXDOMAIN if is_missing else codes.NOERROR
        data = _SOA_NAMES + pack("!5I", *_SOA_TIMES, answer.ttl)
        records = _OWNER + pack("!HHIH", codes.SOA, codes.CLASS_IN, answer.ttl, len(data)) + data
        counts = 0, 1
    edns = query.edns
    flags = QR | RA | (RD if query.recursion_desired else 0) | rcode
    head = query.data[:2] + pack("!HHHHH", flags, 1, *counts, edns is not None)
    opt = b"" if edns is None else make_opt(edns[1], extended_error(codes.EDE_BLOCKED, reason))
    return b"".join((head, query.question, records, opt))


def targets(reply: bytes) -> Iterator[bytes]:  # hot: dns-block
    """Yield the names that the answer section of a reply leads to, in lower case. Raises: ValueError if malformed.

    They are those of CNAME, DNAME, SVCB and HTTPS records.
    """
    if not any(one in reply for one in _LEADING):  # quickly, as of most
        return
    for record in read_records(reply, 1):
        if record.rtype in (codes.CNAME, _DNAME):
            yield record.data.lower()
        elif record.rtype in (codes.SVCB, codes.HTTPS):
            try:
                name, _ = read_name(record.data, 2)  # it is never compressed (RFC 9460 §2.2)
            except IndexError:
                raise ValueError("malformed record") from None
            yield name.lower()
