"""PROXY headers and ClientHellos at the beginning of a connection, in any form and any pieces."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.client_hello import SEEDS as HELLO_SEEDS
from fuzz.client_hello import target as check_hello
from fuzz.proxy_protocol import SEEDS as PROXY_SEEDS
from fuzz.proxy_protocol import target as check_proxy
from npserver.net.proxy_protocol import encode_v1, encode_v2, parse_datagram, parse_header

PORTS = st.integers(0, 65535)
ADDRESSES = st.ip_addresses()
ENDPOINTS = st.tuples(ADDRESSES.map(str), PORTS)


def as_sent(text: str) -> IPv4Address | object:
    address = ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address


@given(ENDPOINTS, ENDPOINTS, st.binary(max_size=40))
def test_what_is_written_is_read(source: tuple[str, int], destination: tuple[str, int], rest: bytes) -> None:
    for wire in (encode_v1(source, destination), encode_v2(source, destination)):
        header = parse_header(wire + rest)
        assert header is not None and header.size == len(wire)
        assert header.source is not None and header.destination is not None
        assert (as_sent(header.source[0]), header.source[1]) == (as_sent(source[0]), source[1])
        assert (as_sent(header.destination[0]), header.destination[1]) == (as_sent(destination[0]), destination[1])


@given(ENDPOINTS, ENDPOINTS, st.binary(max_size=100))
def test_any_datagram_is_read_or_refused(source: tuple[str, int], destination: tuple[str, int], payload: bytes) -> None:
    parsed = parse_datagram(encode_v2(source, destination, datagram=True) + payload)
    assert parsed is not None and parsed[0] is not None
    assert (as_sent(parsed[0][0]), parsed[0][1], parsed[1]) == (as_sent(source[0]), source[1], payload)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    check_proxy(data)
    check_hello(data)


@given(st.data())
def test_mutants_are_read_or_refused(data: st.DataObject) -> None:
    """Seeds with one place changed are refused, read or awaited, the same whole and in pieces."""
    for seeds, check in ((PROXY_SEEDS, check_proxy), (HELLO_SEEDS, check_hello)):
        seed = bytearray(data.draw(st.sampled_from(seeds)))
        seed[data.draw(st.integers(0, len(seed) - 1))] = data.draw(st.integers(0, 255))
        check(bytes(seed))


@pytest.mark.parametrize("seeds", [PROXY_SEEDS, HELLO_SEEDS])
def test_there_are_seeds(seeds: list[bytes]) -> None:
    assert len(seeds) > 3 and all(seeds)
