"""Networks from data: what a list may hold, and where it comes from (`sources.source`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from npserver.network_sets.source import NetworksSource, parse_list
from npserver.network_sets.stored import decode, encode
from npserver.networks import parse_network
from npserver.sources.source import DataError, read_file, stamp_of

LIST = NetworksSource("url", "https://example.net/secret-path", 1000, max_networks=3)


@pytest.mark.parametrize(
    ("data", "networks"),
    [
        (b"192.0.2.0/24\n", ["192.0.2.0/24"]),
        (b"# a list\n\n  192.0.2.1  # one\r\n2001:db8::/32 ; SBL1\n", ["192.0.2.1/32", "2001:db8::/32"]),
        (b"192.0.2.1\n192.0.2.1/32\n::ffff:192.0.2.1", ["192.0.2.1/32"]),
        (b"\xef\xbb\xbf192.0.2.1\r\n", ["192.0.2.1/32"]),
        (b"0.0.0.0/1\n0.0.0.0/2\n0.0.0.0/2\n", ["0.0.0.0/1", "0.0.0.0/2"]),
    ],
)
def test_a_list_has_one_network_per_line(data: bytes, networks: list[str]) -> None:
    assert [str(one) for one in parse_list(data, LIST)] == networks


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "has no networks"),
        (b"# nothing\n", "has no networks"),
        (b"<html>503</html>", "line 1 is not a network"),
        (b"192.0.2.0/24\n192.0.2.1/24\n", "line 2 is not a network: .* did you mean 192.0.2.0/24"),
        (b"192.0.2.0/24, 192.0.3.0/24", "line 1"),
        (b"\xff\x00\n", "line 1"),
        (b"fe80::1%eth0\n", "without a zone"),
        (b"fe80::1%\xff", "without a zone"),
        (b"10.0.0.0/8\n0.0.0.0/0\n", "line 2 is every address"),
        (b"::/0", "line 1 is every address"),
        (b"0.0.0.0/1\n128.0.0.0/1\n", "every IPv4 address together"),
        (b"8000::/1\n::/2\n4000::/2\n", "every IPv6 address together"),
        (b"office", "line 1 is not a network: 'office': expected an address"),
        (b"192.0.2.1\n192.0.2.2\n192.0.2.3\n192.0.2.4\n", "more than 3 networks"),
    ],
)
def test_a_list_with_one_wrong_line_is_not_used(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_list(data, LIST)


def test_a_stored_list_has_its_date() -> None:
    networks = (parse_network("192.0.2.0/24"), parse_network("2001:db8::/32"))
    assert decode(encode(networks, 1700000000.5), LIST) == (networks, 1700000000.0)
    assert decode(b"192.0.2.0/24\n", LIST) is None
    assert decode(b"# 17\nhtml\n", LIST) is None


def test_a_url_is_shown_without_its_path() -> None:
    assert LIST.shown == "https://example.net"


def test_a_file_is_bounded(tmp_path: Path) -> None:
    source = NetworksSource("file", str(tmp_path / "list"), 10, max_networks=10)
    assert stamp_of(source) is None
    with pytest.raises(DataError, match="cannot read"):
        read_file(source)
    (tmp_path / "list").write_bytes(b"x" * 10)
    stamp, data = read_file(source)
    assert (stamp, len(data)) == (stamp_of(source), 10)
    (tmp_path / "list").write_bytes(b"x" * 11)
    with pytest.raises(DataError, match="more than 10 bytes"):
        read_file(source)


def test_sources_are_told_apart_by_what_is_read() -> None:
    places = [("file", "/a"), ("mmdb", "/a"), ("file", "/b")]
    assert len({NetworksSource(kind, place, 1).digest for kind, place in places}) == 3
