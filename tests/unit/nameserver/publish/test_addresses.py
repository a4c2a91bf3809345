"""Where public addresses come from, and which of the machine's are used."""

from __future__ import annotations

import json
from ipaddress import ip_address
from typing import Any

import pytest

from npserver.config.load import load_text
from npserver.config.report import Report
from npserver.nameserver.publish.addresses import AddressSources, compile_sources
from npserver.nameserver.publish.state import Published, decode, encode
from npserver.runtime.interfaces import InterfaceAddress
from npserver.runtime.public_addresses import GIVEN, INTERFACE, KnownAddress

URL = "https://ip.example.net/"


def compiled(value: Any) -> tuple[AddressSources, list[str]]:
    report = Report(load_text(json.dumps({"listen": ["http://:80"], "public_address": value}), "file"))
    return compile_sources(report), [f"{one.severity.value}: {one.message}" for one in report.problems]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("interface", AddressSources(uses_interfaces=True)),
        ("203.0.113.7", AddressSources(("203.0.113.7",))),
        (["203.0.113.7", "2001:DB8::7"], AddressSources(("203.0.113.7", "2001:db8::7"))),
        (["203.0.113.7", "interface"], AddressSources(("203.0.113.7",), uses_interfaces=True)),
        ([], AddressSources(is_nothing=True)),
        ({"ask": URL}, AddressSources(urls=(URL,))),
        (
            {"ask": [URL, "https://other.example/ip?v=1"], "interface": True, "interval": "1m", "timeout": 2},
            AddressSources((), True, (URL, "https://other.example/ip?v=1"), 60.0, 2.0),
        ),
        (
            {"ask": "http://192.168.1.1/ip", "interval": 1},
            AddressSources(urls=("http://192.168.1.1/ip",), interval_s=1.0),
        ),
    ],
)
def test_they_are_given_or_found_out(value: Any, expected: AddressSources) -> None:
    assert compiled(value) == (expected, [])


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("interfaces", "error: 'public_address': expected an IP address or \"interface\", got 'interfaces'"),
        (URL, "error: 'public_address': expected an IP address or \"interface\", got a URL, which is written as {"),
        (["1.2.3.4", "1.2.3.4"], "error: 'public_address': '1.2.3.4' is given twice"),
        ("10.0.0.1", "warning: 'public_address': clients on the internet cannot reach 10.0.0.1, which is a private"),
        ("127.0.0.1", "warning: 'public_address': clients on the internet cannot reach 127.0.0.1"),
        ({}, 'error: \'public_address\' needs "ask" or "interface": true'),
        (
            {"ask": "ip.example.net"},
            "error: 'ask': expected a URL such as https://ip.example.net/",
        ),
        ({"ask": "ftp://a.example/"}, "error: 'ask': expected a URL such as"),
        ({"ask": "https://a.example:99999/"}, "error: 'ask': expected a URL such as"),
        ({"ask": "https://a.example/\r\nX: y"}, "error: 'ask': expected a URL such as"),
        (
            {"ask": "https://user:secret@a.example/"},
            "error: 'ask': expected a URL such as https://ip.example.net/, without spaces and user name",
        ),
        ({"ask": "https://a.example/a b"}, "error: 'ask': expected a URL such as"),
        (
            {"ask": "http://ip.example.net/?key=secret"},
            "warning: 'ask': answers of http://ip.example.net can be",
        ),
        ({"ask": URL, "interval": "50ms"}, "error: 'interval': expected 0.1 s or more"),
        ({"ask": URL, "interval": 1}, "warning: 'interval': services refuse callers who ask every 1 s"),
    ],
)
def test_what_is_wrong_is_said(value: Any, problem: str) -> None:
    _, problems = compiled(value)
    assert len(problems) == 1
    assert problems[0].startswith(problem)
    assert "secret" not in problems[0]


def seen(address: str, **flags: bool) -> InterfaceAddress:
    return InterfaceAddress(ip_address(address), **flags)


#: Interfaces after a change of the provider's prefix, with an address for privacy first.
INTERFACES = [
    seen("127.0.0.1"),
    seen("192.168.1.7"),
    seen("172.17.0.1"),
    seen("100.64.0.9"),
    seen("::1"),
    seen("2a00:2::dead", is_temporary=True),
    seen("2a00:1::7", is_deprecated=True),
    seen("2a00:2::7"),
    seen("fd00::7"),
]
ROUTED = [ip_address("172.17.0.1")]


def arrange(
    sources: AddressSources, before: Published | None = None, found: list[InterfaceAddress] = INTERFACES
) -> tuple[list[tuple[str, str, float]], tuple[str, ...]]:
    made = sources.arrange(found, ROUTED, before or Published(), 50.0)
    return [(one.address, one.source, one.since) for one in made["public"]], made["private"]


class TestOfTheMachine:
    def test_the_address_that_lasts_is_published(self) -> None:
        public, _ = arrange(AddressSources(uses_interfaces=True))
        assert public == [("2a00:2::7", INTERFACE, 50.0)]

    def test_one_that_ends_soon_is_better_than_none(self) -> None:
        sources = AddressSources(uses_interfaces=True)
        ending = [seen("2a00:1::7", is_deprecated=True), seen("2a00:2::dead", is_temporary=True)]
        assert arrange(sources, found=ending)[0] == [("2a00:2::dead", INTERFACE, 50.0)]
        assert arrange(sources, found=ending[:1])[0] == [("2a00:1::7", INTERFACE, 50.0)]

    def test_private_ones_begin_with_that_of_the_default_route(self) -> None:
        assert arrange(AddressSources())[1] == ("172.17.0.1", "192.168.1.7", "100.64.0.9", "fd00::7")
        assert arrange(AddressSources(needs_private=False))[1] == ()

    def test_the_last_one_stays_while_the_network_is_down(self) -> None:
        sources = AddressSources(uses_interfaces=True)
        before = Published((KnownAddress("2a00:2::7", INTERFACE, 7.0),))
        assert arrange(sources, before, [seen("127.0.0.1")])[0] == [("2a00:2::7", INTERFACE, 7.0)]
        assert arrange(AddressSources(("9.9.9.9",)), before)[0] == [("9.9.9.9", GIVEN, 50.0)]  # of another config

    def test_addresses_that_nobody_else_can_have_are_not_public(self) -> None:
        odd = [seen(text) for text in ("203.0.113.7", "2001:db8::7", "224.0.0.1", "ff0e::1", "0.0.0.0", "240.0.0.1")]
        assert arrange(AddressSources(uses_interfaces=True), found=odd)[0] == []


class TestOfSeveralSources:
    def test_what_is_given_is_not_looked_for(self) -> None:
        sources = AddressSources(("2a00:9::9",), uses_interfaces=True)
        assert arrange(sources)[0] == [("2a00:9::9", GIVEN, 50.0)]

    def test_what_interfaces_lack_is_asked_for(self) -> None:
        sources = AddressSources(uses_interfaces=True, urls=(URL,))
        before = Published((KnownAddress("9.9.9.9", URL, 7.0), KnownAddress("2a00:9::9", URL, 8.0)))
        public, _ = arrange(sources, before)
        assert public == [("2a00:2::7", INTERFACE, 50.0), ("9.9.9.9", URL, 7.0)]
        known = tuple(KnownAddress(*one) for one in public)
        assert sources.to_ask_for(known) == [4]
        assert AddressSources(urls=(URL,)).to_ask_for(before.public) == [4, 6]
        assert AddressSources(uses_interfaces=True).to_ask_for(()) == []

    def test_a_url_with_an_address_is_asked_over_its_version(self) -> None:
        assert AddressSources(urls=("http://192.0.2.1/",)).to_ask_for(()) == [4]
        assert AddressSources(urls=("http://[2001:db8::1]:80/",)).to_ask_for(()) == [6]
        assert AddressSources(urls=("http://192.0.2.1/", URL)).to_ask_for(()) == [4, 6]

    def test_what_a_url_of_a_former_config_said_is_forgotten(self) -> None:
        before = Published((KnownAddress("9.9.9.9", "https://other.example/", 7.0),))
        assert arrange(AddressSources(urls=(URL,)), before)[0] == []

    def test_since_when_an_address_is_known_stays(self) -> None:
        before = Published((KnownAddress("9.9.9.9", GIVEN, 7.0), KnownAddress("2a00:2::7", INTERFACE, 8.0)))
        public, _ = arrange(AddressSources(("9.9.9.9",), uses_interfaces=True), before)
        assert [since for _, _, since in public] == [7.0, 8.0]


class TestKept:
    def test_what_is_kept_comes_back_without_the_machines_own(self) -> None:
        known = Published((KnownAddress("9.9.9.9", URL, 7.0),), ("10.0.0.1",))
        assert decode(encode(known)) == Published(known.public)

    @pytest.mark.parametrize("data", [None, b"", b"{", b"[]", b'{"public": [{"address": 7}]}'])
    def test_damaged_values_are_nothing(self, data: bytes | None) -> None:
        assert decode(data) == Published()
