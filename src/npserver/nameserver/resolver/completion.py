"""Complete answers that end outside our zones, for clients that may recurse (RFC 1034 §4.3.1).

An alias (CNAME) of ours may lead to a name of others, and a delegation to servers of others. The resolvers are asked
for that name, and their records follow our aliases in one reply. Called by `nameserver.name_server`.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack

from npserver.dns.message import codes
from npserver.dns.message.edns import OPT_REPLIES
from npserver.dns.message.header import AA, MAX_MESSAGE_BYTES, QR, RA, RD, TC
from npserver.dns.message.query import Query
from npserver.dns.message.sections import read_records
from npserver.dns.zone.answer import BodyWriter
from npserver.dns.zone.lookup import Records
from npserver.nameserver.resolver.messages import fail, truncate


def query_for(query: Query, key: bytes) -> Query:
    """Return the query for the name `key` instead of that asked for, with the type, flags and EDNS of `query`."""
    data = query.data[:4] + b"\0\1" + bytes(6) + key + query.question[-4:]
    return Query(data, len(data), key, query.qtype, query.qclass, query.recursion_desired, query.edns)


def complete(query: Query, aliases: Sequence[Records], reply: bytes) -> bytes:
    """Return the reply to `query`: our aliases, then the records of a resolver's reply about the name they lead to.

    A failure of the resolvers is SERVFAIL, as is a reply too long with the aliases; a truncated reply stays truncated.
    """
    rcode = reply[3] & 0xF
    if rcode not in (codes.NOERROR, codes.NXDOMAIN):
        return fail(query, codes.SERVFAIL)
    if reply[2] & TC >> 8:
        return truncate(query)
    writer = BodyWriter(query.key, len(query.key))
    counts = [sum([writer.add(one) for one in aliases]), 0]
    try:
        for one in read_records(reply, 2):
            counts[one.section] += writer.add(Records(one.owner, one.rtype, one.ttl, (one.data,)))
    except ValueError:
        return fail(query, codes.SERVFAIL)
    opt = b"" if query.edns is None else OPT_REPLIES[query.edns[1]]
    flags = QR | AA | RA | (RD if query.recursion_desired else 0) | rcode
    head = query.data[:2] + pack("!HHHHH", flags, 1, *counts, bool(opt))
    whole = b"".join((head, query.question, writer.body, opt))
    return whole if len(whole) <= MAX_MESSAGE_BYTES else fail(query, codes.SERVFAIL)
