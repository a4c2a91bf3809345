"""Padding of answers: who asks for it, and the sizes that result (RFC 7830, RFC 8467)."""

from __future__ import annotations

import dns.edns
import dns.message
import dns.rrset
import pytest

from npserver.dns.message.edns import KEEPALIVE_OPTION
from npserver.dns.message.padding import BLOCK_BYTES, option_codes, pad, wants_padding

PADDING = dns.edns.GenericOption(dns.edns.PADDING, bytes(20))
OTHER = dns.edns.GenericOption(65001, b"abc")
KEEPALIVE = dns.edns.GenericOption(KEEPALIVE_OPTION, b"")


def query(*options: dns.edns.Option, use_edns: int | bool = 0) -> bytes:
    return dns.message.make_query("a.test", "TXT", id=0, use_edns=use_edns, options=list(options)).to_wire()


def reply(size: int, *, use_edns: int | bool = 0, options: tuple[dns.edns.Option, ...] = ()) -> bytes:
    made = dns.message.make_response(dns.message.from_wire(query(use_edns=False)))
    if size:
        texts = " ".join(f'"{"x" * min(250, size - at)}"' for at in range(0, size, 250))
        made.answer.append(dns.rrset.from_text("a.test.", 60, "IN", "TXT", texts))
    if use_edns is not False:
        made.use_edns(use_edns, options=list(options))
    return made.to_wire(max_size=65_535)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (query(use_edns=False), []),
        (query(), []),
        (query(PADDING), [12]),
        (query(OTHER, KEEPALIVE, PADDING), [65001, 11, 12]),
        (query(OTHER)[:-1], []),
        (query()[:-1], []),
        (query(PADDING)[:11], []),
        (b"", []),
        (query(PADDING)[:4] + b"\0\2" + query(PADDING)[6:], []),  # two questions
    ],
)
def test_the_options_of_a_message(message: bytes, expected: list[int]) -> None:
    assert option_codes(message) == expected
    assert wants_padding(message) == (12 in expected)


@pytest.mark.parametrize("size", [0, 1, 100, 400, 419, 420, 421, 422, 423, 424, 425, 1000, 30_000])
@pytest.mark.parametrize("options", [(), (OTHER,)])
def test_replies_are_of_blocks(size: int, options: tuple[dns.edns.Option, ...]) -> None:
    plain = reply(size, options=options)
    padded = pad(plain)
    assert len(padded) % BLOCK_BYTES == 0
    assert 4 <= len(padded) - len(plain) < BLOCK_BYTES + 4
    parsed, before = dns.message.from_wire(padded), dns.message.from_wire(plain)
    assert parsed.answer == before.answer
    assert [option.otype for option in parsed.options] == [*[option.otype for option in options], dns.edns.PADDING]
    assert set(parsed.options[-1].to_wire()) <= {0}  # type: ignore[arg-type]


def test_replies_that_cannot_be_padded() -> None:
    signed = reply(100)[:-11] + reply(0)[-11:] + b"\0\0\x10\0\1\0\0\0\0\0\1\0"  # a record after OPT
    largest = reply(65_220)
    assert 65_517 <= len(largest) <= 65_535
    for whole in (reply(100, use_edns=False), largest, signed[:11] + b"\2" + signed[12:]):
        assert pad(whole) == whole
