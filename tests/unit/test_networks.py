"""Sets of networks and how the config names them."""

from __future__ import annotations

import random
from ipaddress import ip_address, ip_network

import pytest

from npserver.config.document import Document
from npserver.config.jsonc import parse
from npserver.config.networks import check_networks, compile_networks
from npserver.config.report import Report
from npserver.config.schema import Config
from npserver.networks import REMEMBERED, Networks, parse_network, plain_ip


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
def test_contains(texts: list[str], ip: str, inside: bool) -> None:
    found = networks(*texts)
    assert (ip in found) is inside
    assert (ip in found) is inside  # remembered


def test_agrees_with_the_standard_library() -> None:
    draw = random.Random(1)
    texts = [f"{draw.randrange(256)}.{draw.randrange(256)}.0.0/{draw.randrange(1, 33)}" for _ in range(40)]
    plain = [ip_network(text, strict=False) for text in texts]
    found = Networks(plain)
    for _ in range(2000):
        ip = ".".join(str(draw.randrange(256)) for _ in range(4))
        assert (ip in found) == any(ip_address(ip) in network for network in plain)


def test_what_is_remembered_is_bounded() -> None:
    found = networks("10.0.0.0/8")
    for number in range(REMEMBERED + 10):
        assert f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}" in found
    assert len(found._remembered) <= REMEMBERED


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("10.0.0.1/8", "did you mean 10.0.0.0/8"),
        ("10.0.0", "expected an address or a network"),
        ("10.0.0.0/33", "expected an address or a network"),
        ("", "expected an address or a network"),
    ],
)
def test_what_is_no_network(text: str, message: str) -> None:
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
def test_plain_ip(text: str, plain: str) -> None:
    assert plain_ip(text) == plain


class TestConfig:
    """Names in the config."""

    @staticmethod
    def report() -> Report:
        config = Config(networks={"office": ["10.0.0.0/8", "2001:db8::/32"], "broken": ["10.0.0.1/8", "192.0.2.0/24"]})
        text = '{"networks": {\n"broken": [\n      "10.0.0.1/8"]},\n\n\n\n\n"allow":\n "ofice"}'
        return Report(Document(config, "npserver.json", places=parse(text).places))

    def test_by_name_and_by_text(self) -> None:
        report = self.report()
        found = compile_networks(report, ("allow",), ["office", "192.0.2.1"])
        assert found is not None
        assert [ip in found for ip in ("10.1.1.1", "2001:db8::9", "192.0.2.1", "192.0.2.2")] == [True] * 3 + [False]
        assert report.problems == []

    def test_nothing_named(self) -> None:
        assert compile_networks(self.report(), ("allow",), []) is None

    def test_unknown_names_are_errors_with_a_hint(self) -> None:
        report = self.report()
        compile_networks(report, ("allow",), "ofice")
        assert [str(problem) for problem in report.problems] == [
            "npserver.json:9:2: unknown network 'ofice', did you mean 'office'?"
        ]

    def test_a_bad_text_is_reported_where_it_stands(self) -> None:
        report = self.report()
        check_networks(report)
        found = compile_networks(report, ("allow",), "broken")
        assert found is not None and "192.0.2.3" in found
        assert [str(problem) for problem in report.problems] == [
            "npserver.json:3:7: network '10.0.0.1/8': has bits set beyond its prefix, did you mean 10.0.0.0/8?"
        ]

    def test_a_list_where_everything_is_wrong_lets_nobody_in(self) -> None:
        report = self.report()
        found = compile_networks(report, ("allow",), ["300.0.0.0/8"])
        assert found is not None and not found and "10.0.0.1" not in found
        assert len(report.problems) == 1
