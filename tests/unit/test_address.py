"""Addresses of listeners and targets, and what is said about wrong ones."""

from __future__ import annotations

import pytest

from npserver.address import (
    BYTES,
    DATAGRAMS,
    DNS,
    HTTP,
    Address,
    parse_listen,
    parse_target,
    schemes_reaching,
    schemes_serving,
)


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("http://:8080", Address("http", "", 8080)),
        ("http://", Address("http", "", 80)),
        ("https://Example.COM.", Address("https", "example.com", 443)),
        ("HTTP://*:81/", Address("http", "", 81)),
        ("tcp://127.0.0.1:0", Address("tcp", "127.0.0.1", 0)),
        ("udp://[::1]:5353", Address("udp", "::1", 5353)),
        ("http://[0:0::0001]:80", Address("http", "::1", 80)),
        ("ssl://[fe80::1%eth0]:993", Address("ssl", "fe80::1%eth0", 993)),
        ("http://bücher.example:80", Address("http", "xn--bcher-kva.example", 80)),
        ("http://straße.home:80", Address("http", "xn--strae-oqa.home", 80)),
        ("unix:///tmp/app.sock", Address("unix", path="/tmp/app.sock")),
        ("unix://./app.sock", Address("unix", path="./app.sock")),
        ("unixgram:///run/log", Address("unixgram", path="/run/log")),
    ],
)
def test_listeners_are_read(uri: str, address: Address) -> None:
    assert parse_listen(uri) == address
    assert parse_listen(str(address)) == address


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("http://app:8000/base/", Address("http", "app", 8000, "/base/")),
        ("http://app", Address("http", "app", 80)),
        ("https://app/x", Address("https", "app", 443, "/x")),
        ("tcp://db:3306", Address("tcp", "db", 3306)),
        ("tcp://db:3306/", Address("tcp", "db", 3306)),
        ("upstream://App_Pool", Address("upstream", "App_Pool")),
        ("upstream://pool/api", Address("upstream", "pool", path="/api")),
        ("unix:///run/php.sock", Address("unix", path="/run/php.sock")),
    ],
)
def test_targets_are_read(uri: str, address: Address) -> None:
    assert parse_target(uri) == address
    assert parse_target(str(address)) == address


def test_defaults_stand_in_for_what_is_missing() -> None:
    assert parse_target("db.internal:3306", "tcp") == Address("tcp", "db.internal", 3306)
    assert parse_target("tcp://db", default_port=5432).port == 5432
    assert parse_listen("udp://127.0.0.1", 53).port == 53
    assert parse_listen("http://127.0.0.1", 53).port == 80


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("htpp://:80", "unknown scheme 'htpp' in 'htpp://:80'; did you mean 'http://'?"),
        (
            "h2c://:80",
            "unknown scheme 'h2c' in 'h2c://:80'; expected one of http, https, tcp, udp, ssl, quic, unix, unixgram",
        ),
        ("grpcs://:80", "unknown scheme 'grpcs' in 'grpcs://:80'; did you mean 'https://'?"),
        ("h2s://:80", "unknown scheme 'h2s' in 'h2s://:80'; did you mean 'https://'?"),
        ("wss://:80", "unknown scheme 'wss' in 'wss://:80'; did you mean 'https://'?"),
        ("gopher9://:80", "expected one of http, https, tcp, udp, ssl, quic, unix, unixgram"),
        ("upstream://pool", "unknown scheme 'upstream' in 'upstream://pool'"),
        (":8080", "scheme missing in ':8080', expected as in 'http://:8080'"),
        ("8080", "expected as in 'http://:8080'"),
        ("localhost:80", "expected as in 'http://localhost:80'"),
        ("", "scheme missing in ''"),
        ("tcp://127.0.0.1", "port missing in 'tcp://127.0.0.1'"),
        ("http://:65536", "port '65536' is out of range"),
        ("http://:99999999999999999999", "is out of range"),
        ("http://:", "expected a port from 0 to 65535, got ''"),
        ("http://:-1", "expected a port from 0 to 65535, got '-1'"),
        ("http://:٣", "expected a port from 0 to 65535"),
        ("http://::1:80", "IPv6 addresses stand in brackets, as in '[::1]:8080'"),
        ("http://[::1:80", "']' missing"),
        ("http://[::1]80", "expected ':' and a port after ']'"),
        ("http://[::g]:80", "'::g' is not a valid IPv6 address"),
        ("http://[1.2.3.4]:80", "'1.2.3.4' is not a valid IPv6 address"),
        ("http://1.2.3.400:80", "'1.2.3.400' is not a valid IPv4 address"),
        ("http://1.2.3:80", "'1.2.3' is not a valid IPv4 address"),
        ("http://-a:80", "'-a' is not a valid host name"),
        ("http://a..b:80", "'a..b' is not a valid host name"),
        (f"http://{'a' * 64}:80", "is not a valid host name"),
        ("http://a b:80", "blank or control character"),
        ("http://a\x00b:80", "blank or control character"),
        ("http://user@host:80", "an address has no user name"),
        ("http://joe:secret@host:80", "an address has no user name, got '@' in 'http://...@host:80'"),
        ("postgres://joe:a/s@db", "unknown scheme 'postgres' in 'postgres://...@db'"),
        ("joe:secret@host:80", "scheme missing in 'joe:...@host:80'"),
        ("http://:80/x", "a listener has no path, got '/x'"),
        ("http://:80?x", "an address has no query"),
        ("http://:80#x", "an address has no fragment"),
        ("unix:/tmp/a", "expected 'unix:///tmp/a', got 'unix:/tmp/a'"),
        ("/tmp/a", "expected 'unix:///tmp/a', got '/tmp/a'"),
        ("unix://tmp/a", "the path of a socket must be absolute, got 'unix://tmp/a'; expected as in 'unix:///tmp/a'"),
        ("unix:///tmp/", "must not end in '/'"),
        ("unix:///tmp/a\x00b", "NUL"),
        (f"unix:///{'x' * 107}", "socket path of 108 bytes, at most 107 are possible"),
    ],
)
def test_wrong_listeners_are_refused(uri: str, message: str) -> None:
    with pytest.raises(ValueError) as error:
        parse_listen(uri)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("db:3306", "scheme missing in 'db:3306', expected as in 'tcp://db:3306'"),
        ("tcp://:3306", "host missing in 'tcp://:3306'"),
        ("http://*:80", "host missing"),
        ("tcp://db", "port missing in 'tcp://db', expected 1 to 65535"),
        ("tcp://db:0", "port 0 in 'tcp://db:0', expected 1 to 65535"),
        ("tcp://db:1/x", "tcp addresses have no path, got '/x'"),
        ("upstream://", "name of the upstream missing"),
        ("http://a?b=c", "an address has no query"),
    ],
)
def test_wrong_targets_are_refused(uri: str, message: str) -> None:
    with pytest.raises(ValueError) as error:
        parse_target(uri)
    assert message in str(error.value)


def test_the_scheme_proposed_is_the_likely_one() -> None:
    with pytest.raises(ValueError, match="scheme missing in 'app:3000', expected as in 'http://app:3000'"):
        parse_target("app:3000", likely_scheme="http")


def test_the_longest_socket_path_is_taken() -> None:
    assert len(parse_listen(f"unix:///{'x' * 106}").path) == 107


def test_wildcard_addresses_are_known() -> None:
    uris = ["tcp://:1", "tcp://*:1", "tcp://0.0.0.0:1", "tcp://[::]:1", "tcp://127.0.0.1:1", "unix:///tmp/a"]
    assert [parse_listen(uri).is_wildcard for uri in uris] == [True, True, True, True, False, False]


@pytest.mark.parametrize(
    ("protocols", "expected"),
    [
        ((HTTP,), {"http", "https", "ssl", "unix"}),
        ((BYTES,), {"tcp", "ssl", "unix"}),
        ((DATAGRAMS,), {"udp", "unixgram"}),
        ((DNS,), {"http", "https", "tcp", "ssl", "udp", "quic"}),
    ],
)
def test_listeners_serve_the_protocols_of_their_scheme(protocols: tuple[str, ...], expected: set[str]) -> None:
    assert schemes_serving(*protocols) == expected


@pytest.mark.parametrize(
    ("protocols", "expected"),
    [
        ((HTTP,), {"http", "https", "h2c", "unix", "upstream"}),
        ((BYTES,), {"tcp", "ssl", "unix", "upstream"}),
        ((DATAGRAMS,), {"udp", "unixgram", "upstream"}),
    ],
)
def test_targets_are_reached_by_the_protocols_of_their_scheme(protocols: tuple[str, ...], expected: set[str]) -> None:
    assert schemes_reaching(*protocols) == expected
