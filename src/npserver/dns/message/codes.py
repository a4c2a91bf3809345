"""Numbers of the protocol and their names: record types, classes, rcodes, opcodes (IANA DNS parameters)."""

from __future__ import annotations

A, NS, CNAME, SOA, PTR, HINFO, MX, TXT, AAAA, SRV, OPT, DS = 1, 2, 5, 6, 12, 13, 15, 16, 28, 33, 41, 43
LOC, NAPTR, DNAME, SSHFP, RRSIG, NSEC, DNSKEY, NSEC3, NSEC3PARAM, TLSA = 29, 35, 39, 44, 46, 47, 48, 50, 51, 52
DHCID = 49
CDS, CDNSKEY, OPENPGPKEY, SVCB, HTTPS, IXFR, AXFR, ANY, URI, CAA = 59, 60, 61, 64, 65, 251, 252, 255, 256, 257
TSIG = 250

#: Types with a name: in the config, in logs, and as counters.
TYPES = {
    "A": A,
    "NS": NS,
    "CNAME": CNAME,
    "SOA": SOA,
    "PTR": PTR,
    "HINFO": HINFO,
    "MX": MX,
    "TXT": TXT,
    "AAAA": AAAA,
    "LOC": LOC,
    "SRV": SRV,
    "NAPTR": NAPTR,
    "DNAME": DNAME,
    "DS": DS,
    "SSHFP": SSHFP,
    "RRSIG": RRSIG,
    "NSEC": NSEC,
    "DNSKEY": DNSKEY,
    "DHCID": DHCID,
    "NSEC3": NSEC3,
    "NSEC3PARAM": NSEC3PARAM,
    "TLSA": TLSA,
    "CDS": CDS,
    "CDNSKEY": CDNSKEY,
    "OPENPGPKEY": OPENPGPKEY,
    "SVCB": SVCB,
    "HTTPS": HTTPS,
    "IXFR": IXFR,
    "AXFR": AXFR,
    "ANY": ANY,
    "URI": URI,
    "CAA": CAA,
}
TYPE_NAMES = {number: name for name, number in TYPES.items()}

CLASS_IN, CLASS_ANY = 1, 255

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, YXDOMAIN, NOTAUTH, BADVERS = 0, 1, 2, 3, 4, 5, 6, 9, 16
RCODE_NAMES = {
    NOERROR: "NOERROR",
    FORMERR: "FORMERR",
    SERVFAIL: "SERVFAIL",
    NXDOMAIN: "NXDOMAIN",
    NOTIMP: "NOTIMP",
    REFUSED: "REFUSED",
    YXDOMAIN: "YXDOMAIN",
    NOTAUTH: "NOTAUTH",
    BADVERS: "BADVERS",
}

#: Extended errors (RFC 8914 §4): why an answer is as it is.
EDE_STALE_ANSWER, EDE_CACHED_ERROR, EDE_BLOCKED, EDE_PROHIBITED, EDE_STALE_NXDOMAIN = 3, 13, 15, 18, 19
EDE_NOT_READY, EDE_NOT_AUTHORITATIVE, EDE_NO_REACHABLE_AUTHORITY, EDE_NETWORK_ERROR = 14, 20, 22, 23

OPCODE_QUERY, OPCODE_NOTIFY, OPCODE_UPDATE = 0, 4, 5


def type_name(number: int) -> str:
    """Return the name of a record type: `A`, or `TYPE65280` for one that is not in `TYPES` (RFC 3597 §5)."""
    return TYPE_NAMES.get(number) or f"TYPE{number}"


def rcode_name(number: int) -> str:
    """Return the name of an rcode: `NOERROR`, or `RCODE23` for one that is not in `RCODE_NAMES`."""
    return RCODE_NAMES.get(number) or f"RCODE{number}"
