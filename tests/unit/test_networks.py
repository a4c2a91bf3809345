"""Sets of networks."""

from __future__ import annotations

import random
from ipaddress import ip_address, ip_network

import pytest

from npserver.networks import MAX_CACHED_ADDRESSES, Networks, client_network, is_ip_address, parse_network, plain_ip


def networks(*texts: str) -> Networks:
    return Networks(map(parse_network, texts))


@pytest.mark.parametrize(
    ("texts", "ip", "inside"),
    [
        (["10.0.0.0/8"], "10.255.0.1", True),
        (["10.0.0.0/8"], "11.0.0.1", False),
        (["192.0.2.7"], "192.0.2.7", True),
        (["192.0.2.7"], "192.0.2.8", False),
        (["0.0.0.0/0"], "198.51.100.1", True),
        (["0.0.0.0/0"], "2001:db8::1", False),
        (["::/0"], "2001:db8::1", True),
        (["::/0"], "198.51.100.1", False),
        (["2001:db8::/32", "10.0.0.0/8"], "2001:db8:ffff::1", True),
        (["fe80::/10"], "fe80::1%eth0", True),
        # RFC 4291 §2.5.5.2: IPv4-mapped IPv6 is IPv4, on either side and however it is written
        (["10.0.0.0/8"], "::ffff:10.1.2.3", True),
        (["10.0.0.0/8"], "::ffff:a01:203", True),
        (["10.0.0.0/8"], "::FFFF:10.1.2.3", True),
        (["::ffff:10.0.0.0/104"], "10.1.2.3", True),
        (["10.0.0.0/8"], "::ffff:11.1.2.3", False),
        (["10.0.0.0/8"], "::10.1.2.3", False),
        # no IP addresses at all
        (["0.0.0.0/0", "::/0"], "", False),
        (["0.0.0.0/0", "::/0"], "/tmp/app.sock", False),
        (["0.0.0.0/0"], "010.0.0.1", False),
        ([], "10.0.0.1", False),
    ],
)
def test_a_set_contains_the_addresses_of_its_networks(texts: list[str], ip: str, inside: bool) -> None:
    found = networks(*texts)
    assert (ip in found) is inside
    assert (ip in found) is inside  # cached


def test_agrees_with_the_standard_library() -> None:
    draw = random.Random(1)
    texts = [f"{draw.randrange(256)}.{draw.randrange(256)}.0.0/{draw.randrange(1, 33)}" for _ in range(40)]
    plain = [ip_network(text, strict=False) for text in texts]
    found = Networks(plain)
    for _ in range(2000):
        ip = ".".join(str(draw.randrange(256)) for _ in range(4))
        assert (ip in found) == any(ip_address(ip) in network for network in plain)


def test_the_cache_is_bounded() -> None:
    found = networks("10.0.0.0/8")
    for number in range(MAX_CACHED_ADDRESSES + 10):
        assert f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}" in found
    assert len(found._cache) <= MAX_CACHED_ADDRESSES


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("10.0.0.1/8", "did you mean 10.0.0.0/8"),
        ("10.0.0", "expected an address or a network"),
        ("10.0.0.0/33", "expected an address or a network"),
        ("", "expected an address or a network"),
    ],
)
def test_malformed_networks_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_network(text)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("", ""),
    ],
)
def test_an_address_is_written_plainly(text: str, plain: str) -> None:
    assert plain_ip(text) == plain


@pytest.mark.parametrize(
    ("ip", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::ffff:c000:207", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unix:", ""),
        ("unix", ""),
        ("", ""),
    ],
)
def test_an_address_belongs_to_a_client(ip: str, client: str) -> None:
    assert client_network(ip) == client


def test_an_address_is_told_from_a_name() -> None:
    assert is_ip_address("::1")
    assert is_ip_address("192.0.2.1")
    assert not is_ip_address("*.1.2.3.4")
    assert not is_ip_address("[::1]")
    assert not is_ip_address("")
