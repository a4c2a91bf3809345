"""Ranges of ports in addresses."""

from __future__ import annotations

import pytest

from npserver.port_range import first_of, port_range


@pytest.mark.parametrize(
    ("uri", "first", "count", "second"),
    [
        ("udp://:49152-49172", 49152, 21, "udp://:49153"),
        ("TCP://10.0.0.5:1-65", 1, 65, "tcp://10.0.0.5:2"),
        ("ssl://[::1]:5-5/", 5, 1, "ssl://[::1]:6"),
        ("udp://game.example:100-4195", 100, 4096, "udp://game.example:101"),
    ],
)
def test_each_port_is_an_address(uri: str, first: int, count: int, second: str) -> None:
    found = port_range(uri)
    assert found is not None
    assert (found.first, found.count, found.uri(1)) == (first, count, second)
    assert port_range(str(found)) == found
    assert first_of(uri) == found.uri(0)


@pytest.mark.parametrize(
    "uri",
    ["udp://:5", "unix:///tmp/a:1-2", "unixgram:///a:1-2", "udp://a-1:5", "udp://[::1-2]:5", "a:1-2", "udp://:1-", ""],
)
def test_other_addresses_have_none(uri: str) -> None:
    assert port_range(uri) is None
    assert first_of(uri) == uri


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("udp://:5-4", "the last port of a range is before the first: 'udp://:5-4'"),
        ("udp://:0-4", "expected ports from 1 to 65535, got 'udp://:0-4'"),
        ("udp://:5-65536", "expected ports from 1 to 65535"),
        ("udp://:1-4097", "more than 4096 ports: 'udp://:1-4097'; write several ranges"),
        ("http://:1-5", "a range of ports is for tcp, udp, ssl, got 'http://:1-5': write one address for each"),
    ],
)
def test_a_wrong_range_is_told(uri: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        port_range(uri)
    assert str(caught.value).startswith(message)
    assert first_of(uri) == uri
