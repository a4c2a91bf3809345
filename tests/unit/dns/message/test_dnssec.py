"""Data of DNSSEC's records, compared with dnspython's."""

from __future__ import annotations

import dns.dnssec
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
from hypothesis import given
from hypothesis import strategies as st

from npserver.dns.message import codes
from npserver.dns.message.dnssec import (
    canonical_data,
    canonical_key,
    dnskey_data,
    ds_data,
    key_tag,
    label_count,
    nsec3_hash,
    nsec3_owner,
    type_bitmap,
)

IN = dns.rdataclass.IN
NAMES = st.lists(st.binary(min_size=1, max_size=4), max_size=5).map(lambda labels: dns.name.Name([*labels, b""]))


@given(st.binary(min_size=32, max_size=64), st.sampled_from([256, 257]))
def test_tags_and_digests(public: bytes, flags: int) -> None:
    data = dnskey_data(flags, 13, public)
    theirs = dns.rdata.from_wire(IN, dns.rdatatype.DNSKEY, data, 0, len(data))
    name = dns.name.from_text("Example.com")
    assert key_tag(data) == dns.dnssec.key_id(theirs)  # type: ignore[arg-type]
    assert ds_data(name.to_wire().lower(), data) == dns.dnssec.make_ds(name, theirs, "SHA256").to_wire()  # type: ignore[arg-type]


@given(st.lists(NAMES, max_size=8))
def test_names_sort_in_the_canonical_order(names: list[dns.name.Name]) -> None:
    lower = [dns.name.Name([label.lower() for label in name.labels]) for name in names]
    plain = [one for one in lower if not any(0 in label for label in one.labels)]
    assert sorted(plain, key=lambda one: canonical_key(one.to_wire() or b"")) == sorted(plain)


@given(st.sets(st.integers(1, 65_535), min_size=1, max_size=20))
def test_types_of_a_bitmap(types: set[int]) -> None:
    data = b"\0" + type_bitmap(types)
    theirs = dns.rdata.from_wire(IN, dns.rdatatype.NSEC, data, 0, len(data))
    found = {
        window * 256 + at * 8 + bit
        for window, bits in theirs.windows  # type: ignore[attr-defined]
        for at, byte in enumerate(bits)
        for bit in range(8)
        if byte & 0x80 >> bit
    }
    assert found == types


def test_names_in_data_are_signed_in_lower_case() -> None:
    cases = {
        "MX": "10 Mail.Example.COM.",
        "SRV": "1 2 3 A.Example.COM.",
        "SOA": "Ns.Example.COM. Host.Example.COM. 1 2 3 4 5",
        "NAPTR": '1 2 "U" "E2U+sip" "!^.*$!SIP:Me!" Next.Example.COM.',
        "RP": "Me.Example.COM. Text.Example.COM.",
        "HTTPS": "1 Web.Example.COM. alpn=h2",  # not in RFC 4034's list
        "TXT": '"Example.COM"',
    }
    for kind, text in cases.items():
        one = dns.rdata.from_text("IN", kind, text)
        ours = canonical_data(one.rdtype, one.to_wire() or b"")
        expected = one.to_digestable() if kind != "HTTPS" else one.to_wire()
        assert ours == expected, kind


def test_labels_of_wildcards_are_counted_without_the_star() -> None:
    assert label_count(b"\1*\7example\3com\0") == 2
    assert label_count(b"\1a\1*\3com\0") == 3
    assert label_count(b"\0") == 0


def test_hashed_names() -> None:
    name = dns.name.from_text("www.example.com")
    owner = nsec3_owner(nsec3_hash(name.to_wire() or b""), b"\7example\3com\0")
    assert dns.name.from_wire(owner, 0)[0].labels[0].decode().upper() == dns.dnssec.nsec3_hash(name, None, 0, "SHA1")
    assert codes.NSEC3 == dns.rdatatype.NSEC3
