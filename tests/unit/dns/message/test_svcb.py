"""Service parameters of SVCB and HTTPS records (RFC 9460), compared with dnspython."""

from __future__ import annotations

from typing import Any

import dns.rdata
import pytest

from npserver.dns.message.svcb import parse_params


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"alpn": ["h2", "h3"]}, "alpn=h2,h3"),
        ({"alpn": "h2,h3", "no-default-alpn": True}, "alpn=h2,h3 no-default-alpn"),
        ({"port": "8443"}, "port=8443"),
        ({"ipv4hint": ["192.0.2.1", "192.0.2.2"]}, "ipv4hint=192.0.2.1,192.0.2.2"),
        ({"ipv6hint": "2001:db8::1"}, "ipv6hint=2001:db8::1"),
        ({"ech": "AAT+DQAA"}, 'ech="AAT+DQAA"'),
        ({"key667": "hello"}, "key667=hello"),
        ({"port": 1, "alpn": "h2", "mandatory": ["port", "alpn"]}, "mandatory=alpn,port alpn=h2 port=1"),
    ],
)
def test_parameters_are_those_of_dnspython(params: dict[str, Any], text: str) -> None:
    data = dns.rdata.from_text("IN", "SVCB", f"1 . {text}").to_wire()
    assert data is not None
    assert parse_params(params) == data[3:]  # behind priority and target


def test_parameters_stand_in_the_order_of_their_keys() -> None:
    assert parse_params({"port": 1, "alpn": "h2"}) == parse_params({"alpn": "h2", "port": 1})


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"alpm": "h2"}, "unknown parameter 'alpm', expected mandatory, alpn"),
        ({"key65535": "x"}, "unknown parameter 'key65535'"),
        ({"alpn": "h2", "key1": "h3"}, "key1 is given twice"),
        ({"alpn": ""}, "alpn: expected text or a list of text, got ''"),
        ({"alpn": ["a" * 256]}, "alpn: a protocol name is longer than 255 bytes"),
        ({"port": 70_000}, "port: expected a port, got 70000"),
        ({"port": True}, "port: expected a port, got true"),
        ({"no-default-alpn": 1}, "no-default-alpn: expected true, got 1"),
        ({"no-default-alpn": True}, "no-default-alpn requires alpn"),
        ({"ech": "no base64"}, "ech: expected base64"),
        ({"ipv4hint": "::1"}, "ipv4hint: "),
        ({"mandatory": "port"}, "mandatory names key3, which is not among the parameters"),
        ({"mandatory": "mandatory"}, "mandatory names key0"),
    ],
)
def test_wrong_parameters_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_params(params)
