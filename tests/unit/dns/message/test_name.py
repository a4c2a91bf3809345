"""Domain names: text to wire form and back (RFC 1035 §3.1, §5.1)."""

from __future__ import annotations

import dns.name
import pytest

from npserver.dns.message.name import ROOT, labels, parent, parse_host, parse_owner, to_text


@pytest.mark.parametrize(
    ("text", "wire"),
    [
        (".", b"\0"),
        ("a", b"\1a\0"),
        ("www.Example.com", b"\3www\7Example\3com\0"),
        ("www.example.com.", b"\3www\7example\3com\0"),
        ("_http._tcp.a", b"\5_http\4_tcp\1a\0"),
        ("*.a", b"\1*\1a\0"),
        ("0/25.2.0.192.in-addr.arpa", b"\x040/25\x012\x010\x03192\x07in-addr\x04arpa\0"),
        ("bücher.example", b"\x0dxn--bcher-kva\x07example\0"),
        ("Straße.home", b"\x0dxn--strae-oqa\x04home\0"),
        ("*.straße。home", b"\1*\x0dxn--strae-oqa\x04home\0"),
    ],
)
def test_owner_names_are_parsed(text: str, wire: bytes) -> None:
    assert parse_owner(text) == wire


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a label is empty"),
        ("a..b", "a label is empty"),
        (".a", "a label is empty"),
        ("a b", "expected a domain name, got 'a b'"),
        ("a*.b", "expected a domain name"),
        ("a" * 64, "longer than 63 bytes"),
        (".".join(["a" * 63] * 4), "longer than 255 bytes"),
        ("ü" * 70, "not a valid internationalized domain name"),
    ],
)
def test_malformed_names_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_owner(text)


def test_the_longest_name_has_255_bytes() -> None:
    longest = ".".join(["a" * 63] * 3 + ["a" * 61])
    assert len(parse_owner(longest)) == 255
    with pytest.raises(ValueError, match="longer than 255 bytes"):
        parse_owner(longest + "a")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("192.0.2.1", "expected a host name, got the address '192.0.2.1'"),
        ("2001:db8::1", "got the address"),
        (5, "expected a host name, got 5"),
        ("*.a", "expected a domain name"),
        ("0/25.a", "expected a domain name"),
    ],
)
def test_targets_that_are_no_host_names_are_refused(text: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_host(text)


@pytest.mark.parametrize(
    "wire", [b"\0", b"\3www\7example\3com\0", b"\1*\1a\0", b"\3a.b\1c\0", b'\4a\\"(\1\x07\0', b"\1\xff\0"]
)
def test_dnspython_reads_the_text_of_names(wire: bytes) -> None:
    text = to_text(wire)
    assert text.isascii()
    assert dns.name.from_text(text).to_wire() == wire


def test_parent_and_labels() -> None:
    wire = b"\3www\7example\3com\0"
    assert parent(wire) == b"\7example\3com\0"
    assert parent(b"\3com\0") == ROOT
    assert labels(wire) == [b"www", b"example", b"com"]
    assert labels(ROOT) == []
