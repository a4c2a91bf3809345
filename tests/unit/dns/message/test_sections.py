"""Records read from replies of others, with compressed names (RFC 1035 §4.1.4)."""

from __future__ import annotations

import dns.message
import dns.rrset
import pytest

from npserver.dns.message import codes
from npserver.dns.message.sections import ADDITIONAL, ANSWER, AUTHORITY, Record, read_name, read_records


def reply(*sets: tuple[str, str, str], section: str = "answer") -> bytes:
    message = dns.message.make_response(dns.message.make_query("www.example.com", "A"))
    for owner, kind, text in sets:
        getattr(message, section).append(dns.rrset.from_text(owner, 300, "IN", kind, text))
    return message.to_wire()


def test_names_are_whole() -> None:
    wire = reply(("www.example.com.", "CNAME", "a.example.com."), ("a.example.com.", "A", "192.0.2.1"))
    assert list(read_records(wire)) == [
        Record(ANSWER, b"\3www\7example\3com\0", codes.CNAME, 1, 300, b"\1a\7example\3com\0"),
        Record(ANSWER, b"\1a\7example\3com\0", codes.A, 1, 300, bytes((192, 0, 2, 1))),
    ]


@pytest.mark.parametrize(
    ("section", "number", "sections"),
    [("answer", ANSWER, 1), ("authority", AUTHORITY, 2), ("additional", ADDITIONAL, 3)],
)
def test_sections_are_told_apart_and_left_out(section: str, number: int, sections: int) -> None:
    wire = reply(("ns.example.com.", "A", "192.0.2.1"), section=section)
    assert [one.section for one in read_records(wire)] == [number]
    assert not list(read_records(wire, sections - 1))
    assert len(list(read_records(wire, sections))) == 1


def test_a_message_cut_off_anywhere_is_none() -> None:
    wire = reply(("www.example.com.", "MX", "10 mail.example.com."), ("www.example.com.", "SOA", "a. b. 1 2 3 4 5"))
    assert len(list(read_records(wire))) == 2
    for size in range(12, len(wire)):
        with pytest.raises(ValueError, match=r"."):
            list(read_records(wire[:size]))


@pytest.mark.parametrize(
    "name",
    [
        b"\xc0\x0c",  # to itself
        b"\1a\xc0\x0c",  # in a circle
        b"\xc0\xff",  # forward
        b"\x40" + b"a" * 64 + b"\0",  # neither a length nor a pointer
        (b"\x3f" + b"a" * 63) * 4 + b"\0",  # too long
    ],
)
def test_names_that_lead_nowhere(name: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_name(bytes(12) + name, 12)


def test_a_chain_of_pointers_takes_no_time() -> None:
    """Each points to the one before; records at their end would have all of them followed, for each record."""
    chain = bytes(12) + b"\0\0" + b"".join((0xC000 | at).to_bytes(2, "big") for at in range(12, 12 + 2 * 200, 2))
    assert read_name(chain, 14 + 2 * 100) == (b"\0", 16 + 2 * 100)
    with pytest.raises(ValueError, match="too many"):
        read_name(chain, 14 + 2 * 150)
