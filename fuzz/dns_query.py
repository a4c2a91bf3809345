"""Fuzzes the processing of DNS messages: `make fuzz ARGS="dns_query --seconds 60"`.

Oracle: any bytes get no reply, or one that dnspython can parse, with the query's id, QR set, and no more bytes than the
client accepts; and the fast path replies as the full parser does.
"""

from __future__ import annotations

from struct import pack

import dns.flags
import dns.message

from npserver.dns.message.cookies import CookieJar
from npserver.dns.zone.compile import Settings, compile_tables
from npserver.dns.zone.responder import Responder
from npserver.nameserver.query_processor import QueryProcessor
from npserver.nameserver.reply_options import ReplyOptions
from npserver.nameserver.udp_query_processor import UdpQueryProcessor

RECORDS: dict[str, dict[str, object]] = {
    "example.com": {"NS": "ns.example.com", "A": "192.0.2.1", "MX": ["10 a.example.com"], "TXT": ["x" * 200] * 1},
    "a.example.com": {"A": "192.0.2.2", "AAAA": "2001:db8::2"},
    "b.example.com": {"CNAME": "a.example.com"},
    "*.w.example.com": {"TXT": "wild"},
    "sub.example.com": {"NS": "ns.sub.example.com"},
    "ns.sub.example.com": {"A": "192.0.2.3"},
    "d.example.com": {"DNAME": "w.example.com", "TXT": "beside"},
    "l.example.com": {"DNAME": ".".join([63 * "t", 63 * "u", 63 * "v", 40 * "w"]) + ".example.com"},
    "loop.example.com": {"DNAME": "x.loop.example.com"},
    "alias.example.com": {"ALIAS": "elsewhere.net"},
    "deep.er.example.com": {"TXT": [f"{number:03}{'y' * 60}" for number in range(20)]},
}
CLIENT = "192.0.2.99"


class _WithoutFastPath(UdpQueryProcessor):
    """A UDP query processor without the fast path."""

    respond = QueryProcessor.respond


def _problem(path: object, message: str) -> None:
    raise AssertionError(f"{path}: {message}")


def make_processors() -> tuple[UdpQueryProcessor, UdpQueryProcessor]:
    """Return a processor with the fast path and one without, each with tables of its own."""
    processors = [
        kind(Responder(compile_tables(RECORDS, Settings(300), _problem), {}), CookieJar(b"key"))
        for kind in (UdpQueryProcessor, _WithoutFastPath)
    ]
    for one in processors:
        one.options = ReplyOptions()
        one.options.set_nsid("fuzz")
    return processors[0], processors[1]


FAST, FULL = make_processors()


def check(data: bytes) -> None:
    """Process `data` and check the reply."""
    reply = FAST.respond(data, CLIENT, 0.0, 1e9)
    assert reply == FULL.respond(data, CLIENT, 0.0, 1e9)
    known = FAST.replies.get(data[2:])
    if reply is None:
        assert known is None
        assert len(data) < 12 or data[2] & 0x80, "a question without an answer"
        return
    assert isinstance(reply, bytes)
    if known is not None:
        assert reply == data[:2] + known[0](), "what is remembered is not what was answered"
    message = dns.message.from_wire(reply)
    assert reply[:2] == data[:2]
    assert message.flags & dns.flags.QR
    assert len(reply) <= (512 if message.edns < 0 else 1232)
    if len(reply) > 12:
        assert reply[12:].startswith(data[12:].split(b"\0")[0])


def seeds() -> list[bytes]:
    """Return queries of all kinds."""
    found = []
    for name in (*RECORDS, "x.w.example.com", "y.sub.example.com", "nope.example.com", "google.com", "."):
        for kind in ("A", "TXT", "MX", "ANY", "NS", "DS", "AXFR"):
            query = dns.message.make_query(name.replace("*", "star"), kind, use_edns=False).to_wire()
            found.append(query)
            for options in (
                b"",
                b"\0\x0a\0\x08abcdefgh",
                b"\0\x0a\0\x18" + b"abcdefgh\xf0" + bytes(15),
                b"\xff\xf0\0\1a",
            ):
                opt = b"\0" + pack("!HHBBHH", 41, 1232, 0, 0, 0x8000 * len(options) % 7, len(options)) + options
                found.append(query[:11] + b"\1" + query[12:] + opt)
    return found


if __name__ == "__main__":
    from fuzz.driver import run

    run(check, seeds())
