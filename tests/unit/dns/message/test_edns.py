"""The OPT pseudo-record (RFC 6891)."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import pytest

from npserver.dns.message.edns import (
    ASKS_KEEPALIVE,
    ASKS_NSID,
    MAX_UDP_BYTES,
    OPT_REPLIES,
    WRONG_KEEPALIVE,
    opt_with_cookie,
    parse_opt,
)


def opt(payload: int = 1232, version: int = 0, flags: int = 0, options: bytes = b"") -> bytes:
    """Return an OPT record as a query has it."""
    return (
        b"\0\0\x29" + payload.to_bytes(2) + bytes([0, version]) + flags.to_bytes(2) + len(options).to_bytes(2) + options
    )


COOKIE = b"\0\x0a\0\x08clientid"


@pytest.mark.parametrize(
    ("record", "edns"),
    [
        (opt(), (1232, 0, 0, None, 0)),
        (opt(4096), (1232, 0, 0, None, 0)),
        (opt(100), (512, 0, 0, None, 0)),  # RFC 6891 §6.2.3: below 512 means 512
        (opt(600), (600, 0, 0, None, 0)),
        (opt(flags=0x8000), (1232, 1, 0, None, 0)),
        (opt(version=1), (1232, 0, 1, None, 0)),
        (opt(options=COOKIE), (1232, 0, 0, b"clientid", 0)),
        (opt(options=b"\0\x0c\0\x02xx" + COOKIE), (1232, 0, 0, b"clientid", 0)),
        (opt(options=COOKIE + b"\0\x0a\0\x08another1"), (1232, 0, 0, b"clientid", 0)),
        (opt(options=b"\0\x0a\0\0"), (1232, 0, 0, b"", 0)),
        (opt(options=b"\0\x03\0\0"), (1232, 0, 0, None, ASKS_NSID)),
        (opt(options=b"\0\x03\0\1x"), (1232, 0, 0, None, ASKS_NSID)),  # RFC 5001 §2.1: what it holds is ignored
        (opt(options=b"\0\x0b\0\0" + COOKIE), (1232, 0, 0, b"clientid", ASKS_KEEPALIVE)),
        (opt(options=b"\0\x0b\0\2\0\1"), (1232, 0, 0, None, WRONG_KEEPALIVE)),
    ],
)
def test_an_opt_record_is_parsed(record: bytes, edns: tuple[int, int, int, bytes | None, int]) -> None:
    assert parse_opt(record) == edns


@pytest.mark.parametrize(
    "record",
    [
        b"",
        opt()[:-1],
        opt() + b"x",
        b"\1" + opt()[1:],
        b"\0\0\x01" + opt()[3:],
        opt(options=b"\0\x0a\0"),
        opt(options=b"\0\x0a\0\x09clientid"),
        opt(options=COOKIE + b"\0"),
    ],
)
def test_malformed_opt_records_yield_none(record: bytes) -> None:
    assert parse_opt(record) is None


@pytest.mark.parametrize("do", [0, 1])
def test_dnspython_reads_the_opt_records_of_replies(do: int) -> None:
    for record, options in ((OPT_REPLIES[do], 0), (opt_with_cookie(do, b"c" * 16), 1)):
        read = dns.message.from_wire(b"\0\1\x80\0\0\0\0\0\0\0\0\1" + record)
        assert (read.edns, read.payload, bool(read.ednsflags & dns.flags.DO)) == (0, MAX_UDP_BYTES, bool(do))
        assert len(read.options) == options
        assert all(isinstance(option, dns.edns.CookieOption) for option in read.options)
