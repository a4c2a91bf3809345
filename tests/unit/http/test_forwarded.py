"""The client's address and scheme behind proxies (RFC 7239, X-Forwarded-For)."""

from __future__ import annotations

import pytest

from npserver.http.forwarded import client_address, client_scheme, forwarded_element, is_identity, parse_hop


class Trusted:
    """10.0.0.0/8 and ::1, as text."""

    def __contains__(self, ip: str) -> bool:
        return ip.startswith("10.") or ip == "::1"


@pytest.mark.parametrize(
    ("peer", "chain", "client"),
    [
        ("192.0.2.1", b"6.6.6.6", "192.0.2.1"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", b"192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", b"6.6.6.6, 192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", b"6.6.6.6,192.0.2.1,10.0.0.9, 10.0.0.8", "192.0.2.1"),
        ("10.0.0.1", b"10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", b"6.6.6.6, unknown", "10.0.0.1"),
        ("10.0.0.1", b"6.6.6.6, unknown, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", b"", "10.0.0.1"),
        ("10.0.0.1", b"192.0.2.1,", "192.0.2.1"),
        ("10.0.0.1", b"192.0.2.1, ,10.0.0.2 ,", "192.0.2.1"),
        ("10.0.0.1", b", ,", "10.0.0.1"),
        ("10.0.0.1", b"192.0.2.1:4711", "192.0.2.1"),
        ("10.0.0.1", b"[2001:DB8::1]:4711", "2001:db8::1"),
        ("10.0.0.1", b"2001:db8::1", "2001:db8::1"),
        ("10.0.0.1", b"::ffff:192.0.2.1", "192.0.2.1"),
        ("::1", b"6.6.6.6\t,\t192.0.2.1", "192.0.2.1"),
    ],
)
def test_the_client_is_the_last_that_is_not_trusted(peer: str, chain: bytes | None, client: str) -> None:
    fields = {} if chain is None else {b"x-forwarded-for": chain}
    assert client_address(peer, fields, Trusted()) == client


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        (b"for=192.0.2.1", "192.0.2.1"),
        (b'for=6.6.6.6, For="[2001:db8::1]:80";proto=https', "2001:db8::1"),
        (b"proto=http;for=192.0.2.1;by=10.0.0.1, for=10.0.0.2", "192.0.2.1"),
        (b"for=6.6.6.6, for=_hidden", "10.0.0.1"),
        (b'for="192.0.2.1:4711"', "192.0.2.1"),
        (b'host="for=6.6.6.6", for=192.0.2.1', "192.0.2.1"),
        (b'for=192.0.2.1;host="a;for=6.6.6.6"', "192.0.2.1"),
        (b'for=192.0.2.1;host="a\\";for=6.6.6.6"', "192.0.2.1"),
        (b"nonsense", "10.0.0.1"),
    ],
)
def test_forwarded_counts_without_x_forwarded_for(forwarded: bytes, client: str) -> None:
    assert client_address("10.0.0.1", {b"forwarded": forwarded}, Trusted()) == client


def test_a_long_chain_is_followed_for_max_hops_only() -> None:
    chain = b", ".join([b"192.0.2.1"] + [b"10.0.0.2"] * 1000)
    assert client_address("10.0.0.1", {b"x-forwarded-for": chain}, Trusted()) == "10.0.0.2"


@pytest.mark.parametrize(
    "hop", [b"", b"unknown", b"_x", b"1.2.3", b"1.2.3.4:x", b"[::1", b"[::1]x", b"fe80::1%eth0", b"1.2.3.4:", b"\xff"]
)
def test_entries_that_are_no_addresses(hop: bytes) -> None:
    assert parse_hop(hop) is None


@pytest.mark.parametrize(
    ("fields", "scheme"),
    [
        ({}, None),
        ({b"x-forwarded-proto": b"https"}, "https"),
        ({b"x-forwarded-proto": b"https, HTTP"}, "http"),
        ({b"x-forwarded-proto": b"gopher"}, None),
        ({b"forwarded": b"for=1.2.3.4;proto=https"}, "https"),
    ],
)
def test_the_scheme_is_read_from_the_fields(fields: dict[bytes, bytes], scheme: str | None) -> None:
    assert client_scheme(fields) == scheme


@pytest.mark.parametrize(
    ("client", "host", "element"),
    [
        ("192.0.2.1", "a.test", b"for=192.0.2.1;proto=http;host=a.test"),
        ("2001:db8::1", "a.test:81", b'for="[2001:db8::1]";proto=http;host="a.test:81"'),
        ("192.0.2.1", "", b"for=192.0.2.1;proto=http"),
        ("unix:", "a", b"for=unknown;proto=http;host=a"),
    ],
)
def test_element_is_quoted_where_needed_rfc7239_4(client: str, host: str, element: bytes) -> None:
    assert forwarded_element(client, "http", host) == element


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"x-forwarded-for", True),
        (b"x_forwarded_for", True),
        (b"x-forwarded_host", True),
        (b"forwarded", True),
        (b"x-real-ip", True),
        (b"x_real_ip", True),
        (b"x-forwarded", False),
        (b"accept", False),
    ],
)
def test_fields_that_name_the_client_are_known(name: bytes, expected: bool) -> None:
    assert is_identity(name) is expected


@pytest.mark.parametrize("value", [b"a" * 60_000, b'a="' * 20_000, b"for=" * 15_000, b";," * 30_000])
def test_hostile_fields_are_parsed_in_linear_time(value: bytes) -> None:
    """A pattern that took the square of a value's length would not end before the test's deadline does."""
    assert client_address("10.0.0.1", {b"forwarded": value}, {"10.0.0.1"}) == "10.0.0.1"
