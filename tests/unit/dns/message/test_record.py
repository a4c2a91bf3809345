"""Record data: what each type accepts, compared with dnspython, and what it refuses."""

from __future__ import annotations

from typing import Any

import dns.rdata
import pytest

from npserver.dns.message import codes
from npserver.dns.message.record import parse_data, parse_ttl, parse_type, quotes_in

GOOD: list[tuple[str, Any, str]] = [
    ("A", "192.0.2.1", "192.0.2.1"),
    ("A", {"address": "192.0.2.1"}, "192.0.2.1"),
    ("AAAA", "2001:DB8::1", "2001:db8::1"),
    ("AAAA", "::ffff:192.0.2.1", "::ffff:192.0.2.1"),
    ("CNAME", "web.example.com.", "web.example.com."),
    ("CNAME", {"host": "Web.Example.com"}, "Web.Example.com."),
    ("CNAME", "bücher.example", "xn--bcher-kva.example."),
    ("NS", "ns1.example.com", "ns1.example.com."),
    ("PTR", "host_1.example.com", "host_1.example.com."),
    ("MX", {"priority": 10, "host": "mx.example.com"}, "10 mx.example.com."),
    ("MX", "20 mx.example.com", "20 mx.example.com."),
    ("MX", "mx.example.com", "10 mx.example.com."),
    ("MX", "0 .", "0 ."),
    ("TXT", "v=spf1 -all", '"v=spf1 -all"'),
    ("TXT", "", '""'),
    ("TXT", {"text": ["one", "two"]}, '"one" "two"'),
    ("TXT", "ä", '"\\195\\164"'),
    ("TXT", "x" * 256, '"' + "x" * 255 + '" "x"'),
    ("SRV", {"priority": 0, "weight": 100, "port": 8080, "target": "web.local"}, "0 100 8080 web.local."),
    ("SRV", {"port": 1, "target": "."}, "0 0 1 ."),
    ("SRV", "1 2 3 web.local", "1 2 3 web.local."),
    ("SOA", "ns.a h.a 1 2 3 4 5", "ns.a. h.a. 1 2 3 4 5"),
    ("SOA", {"mname": "ns.a", "rname": "h@a", "serial": 9}, "ns.a. h.a. 9 3600 600 604800 300"),
    ("SOA", {"mname": "ns.a", "rname": "h.a", "serial": 9, "minimum": "5m"}, "ns.a. h.a. 9 3600 600 604800 300"),
    ("CAA", {"flags": 128, "tag": "Issue", "value": "ca.example"}, '128 issue "ca.example"'),
    ("CAA", '0 iodef "mailto:a@b.c"', '0 iodef "mailto:a@b.c"'),
    ("HTTPS", "1 . alpn=h2,h3", '1 . alpn="h2,h3"'),
    ("HTTPS", '1 . alpn="h2,h3" port=8443 no-default-alpn', '1 . alpn="h2,h3" no-default-alpn port="8443"'),
    ("HTTPS", {"target": "svc.example", "priority": 0}, "0 svc.example."),
    (
        "SVCB",
        {"target": ".", "params": {"port": 53, "ipv4hint": ["192.0.2.1"], "ipv6hint": "2001:db8::1", "alpn": ["dot"]}},
        '1 . alpn="dot" port="53" ipv4hint="192.0.2.1" ipv6hint="2001:db8::1"',
    ),
    ("SVCB", {"target": ".", "params": {"key667": "hello", "ech": "AAT+DQAA"}}, '1 . ech="AAT+DQAA" key667="hello"'),
    ("SVCB", {"target": ".", "params": {"mandatory": ["port"], "port": 1}}, '1 . mandatory="port" port="1"'),
    ("TLSA", "3 1 1 " + "0a" * 32, "3 1 1 " + "0a" * 32),
    ("SSHFP", "4 2 " + "0a" * 32, "4 2 " + "0a" * 32),
    ("NAPTR", '100 10 "u" "E2U+sip" "!^.*$!sip:a@b.c!" .', '100 10 "u" "E2U+sip" "!^.*$!sip:a@b.c!" .'),
    ("NAPTR", '1 1 "s" "" "" _sip._udp.example', '1 1 "s" "" "" _sip._udp.example.'),
    ("DS", "12345 13 2 " + "0a" * 32, "12345 13 2 " + "0a" * 32),
    ("URI", '10 1 "ftp://a.example/"', '10 1 "ftp://a.example/"'),
    ("LOC", "52 22 23 N 4 53 32 E -2m 0m 10000m 10m", "52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000.00m 10.00m"),
    ("OPENPGPKEY", "mDMEXEcE", "mDMEXEcE"),
    ("DHCID", "AAIBY2/AuCccgoJbsaxcQc9TUapptP69", "AAIBY2/AuCccgoJbsaxcQc9TUapptP69"),
    ("A", "\\# 4 C0000201", "192.0.2.1"),
    ("TYPE65280", "\\# 4 0A 00 0001", "\\# 4 0a000001"),
    ("TYPE65280", "\\# 0", "\\# 0"),
]

BAD: list[tuple[str, Any, str]] = [
    ("TLSA", "3 1 x", "expecting an integer, got '3 1 x'"),
    ("DS", {"tag": 1}, "expected text as in a zone file, got an object"),
    ("SSHFP", "4 2 zz", "Non-hexadecimal digit found"),
    ("URI", "70000 1 x", "got '70000 1 x'"),
    ("A", "192.0.2.256", "expected an IPv4 address, got '192.0.2.256'"),
    ("A", "192.0.2.01", "expected an IPv4 address"),
    ("A", "192.0.2", "expected an IPv4 address"),
    ("A", 7, "expected text, got 7"),
    ("A", "2001:db8::1", "expected an IPv4 address"),
    ("AAAA", "192.0.2.1", "expected an IPv6 address"),
    ("AAAA", "fe80::1%eth0", "expected an IPv6 address"),
    ("CNAME", "192.0.2.1", "expected a host name, got the address '192.0.2.1'"),
    ("CNAME", "a..b", "a label is empty"),
    ("CNAME", "a b", "expected a domain name"),
    ("CNAME", "http://a/", "expected a domain name"),
    ("CNAME", "a" * 64 + ".b", "expected a domain name|longer than 63 bytes"),
    ("CNAME", ".".join(["a" * 60] * 5), "longer than 255 bytes"),
    ("CNAME", ".", "expected a host name, got '.'"),
    ("CNAME", None, "expected text, got null"),
    ("NS", {"hots": "a"}, "unknown key 'hots', expected host"),
    ("NS", {}, "host is missing"),
    ("MX", {"priority": 65_536, "host": "a"}, "expected priority from 0 to 65535, got 65536"),
    ("MX", {"priority": True, "host": "a"}, "expected priority"),
    ("MX", "x mx.example.com", "expected a number as priority, got 'x'"),
    ("MX", {"priority": 1}, "host is missing"),
    ("TXT", 7, "expected text, got 7"),
    ("TXT", {"text": []}, "expected text, got an empty list"),
    ("TXT", {"text": [1]}, "expected text, got 1"),
    ("TXT", "x" * 70_000, "expected at most 64511 bytes of data, got 7"),
    ("SRV", {"target": "a"}, "port is missing"),
    ("SRV", "1 2 a", 'expected "priority weight port target"'),
    ("SOA", {"mname": "a", "rname": "b"}, "expected serial"),
    ("SOA", {"mname": "a", "rname": "a.b@c", "serial": 1}, "holds a dot"),
    ("CAA", {"tag": "is sue", "value": ""}, "expected a tag"),
    ("CAA", "issue", "expected 'flags tag"),
    ("HTTPS", {"target": ".", "params": {"alpm": "h2"}}, "unknown parameter 'alpm'"),
    ("HTTPS", {"target": ".", "params": {"port": 70_000}}, "port: expected a port"),
    ("HTTPS", {"target": ".", "params": {"mandatory": "port"}}, "mandatory names key3"),
    ("HTTPS", {"target": ".", "params": {"no-default-alpn": True}}, "requires alpn"),
    ("HTTPS", {"target": ".", "priority": 0, "params": {"port": 1}}, "has no params"),
    ("HTTPS", {"target": ".", "params": {"ipv4hint": "::1"}}, "ipv4hint: "),
    ("HTTPS", "1", 'expected "priority target'),
    ("TYPE65280", "0A000001", "expected data as"),
    ("TYPE65280", "\\# 5 0A000001", "and 4 as the length"),
    ("TYPE65280", "\\# 4 0A00000G", "expected hexadecimal digits"),
]


@pytest.mark.parametrize(("rtype", "value", "expected"), GOOD, ids=[f"{k}-{str(v)[:40]}" for k, v, _ in GOOD])
def test_dnspython_reads_the_data(rtype: str, value: Any, expected: str) -> None:
    data = parse_data(parse_type(rtype), value)
    assert dns.rdata.from_wire("IN", rtype, data, 0, len(data)).to_text().strip() == expected


@pytest.mark.parametrize(("rtype", "value", "message"), BAD, ids=[f"{k}-{str(v)[:40]}" for k, v, _ in BAD])
def test_invalid_data_is_refused_with_a_message(rtype: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_data(parse_type(rtype), value)


@pytest.mark.parametrize(
    ("value", "seconds"), [(0, 0), (300, 300), ("5m", 300), ("1w", 604_800), (2**31 - 1, 2**31 - 1)]
)
def test_a_ttl_is_seconds_or_a_time(value: object, seconds: int) -> None:
    assert parse_ttl(value) == seconds


@pytest.mark.parametrize("value", [-1, 2**31, True, 1.5, "5 minutes", None, "9" * 12])
def test_a_ttl_out_of_range_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="expected a TTL"):
        parse_ttl(value)


@pytest.mark.parametrize("text", ["TYPE0", "TYPE41", "TYPE255", "TYPE252", "TYPE70000", "AFSDB", "OPT", ""])
def test_types_that_records_cannot_have(text: str) -> None:
    with pytest.raises(ValueError, match="type"):
        parse_type(text)


def test_types_are_known_in_any_case_and_by_number() -> None:
    assert parse_type("aaaa") == parse_type("TYPE28") == codes.AAAA


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        ('"v=spf1 -all"', '"v=spf1 -all"'),
        ('"v=DKIM1; p=MIGf" "MA0G"', '{"text": ["v=DKIM1; p=MIGf", "MA0G"]}'),
        ({"text": ['"one"', "two"]}, '"one"'),
        ('""', '""'),
        ("v=spf1 -all", None),
        ('says "hello" to all', None),
        ('"', None),
        ({"text": "plain"}, None),
        ('0 issue "ca.example"', None),
    ],
)
def test_a_txt_pasted_with_its_quotes_is_advised_on(value: object, advice: str | None) -> None:
    found = quotes_in(value)
    assert found == (advice and f"the quotes are part of the text; without them it is {advice}")
