"""Compiling `acme` entries: what is wanted of the CA, by which challenges, and the messages for what cannot work.

Covers `tls.acme.config`, `tls.acme.dns.compile`, `tls.acme.dns.zone_use` and `tls.acme.reach`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from msgspec import convert

from npserver.cli.check import check
from npserver.errors import ConfigError
from npserver.tls.acme.config import Acme

HOST = {"handler": "respond", "host": "www.example.com", "body": "hello"}
WEB = ["https://127.0.0.1:443", "http://127.0.0.1:80"]
ZONES = {"dns_zones": ["example.com"], "dns": {"example.com": {"A": "192.0.2.1"}}}
DNS = {"handler": "dns", "listener": "udp://127.0.0.1:53"}


def told(tmp_path: Path, acme: Any, *rules: dict[str, Any], **config: Any) -> list[str]:
    """Return what `npserver check` says of certificates, its warnings, or its errors."""
    file = tmp_path / "npserver.json"
    tls = acme if isinstance(acme, str | list) else {"acme": acme, **config.pop("entry", {})}
    made = {"listen": WEB, "store": str(tmp_path / "store"), "tls": tls, "dispatch": [*(rules or (HOST,))], **config}
    file.write_text(json.dumps(made))
    try:
        warnings, served = check(str(file))
    except ConfigError as error:
        return [problem.message for problem in error.problems]
    assert not (tmp_path / "store").exists(), "a check writes nothing"
    shown = ("certificate for", "certificate of", "needs the record", "updates of")
    found = [text for of, text in served if of == "TLS" and text.startswith(shown)]
    warned = "dns_|CNAME|effect|never used|lies in|profile"
    return found + [problem.message for problem in warnings if re.search(warned, problem.message)]


@pytest.mark.parametrize(
    ("acme", "config", "kinds"),
    [
        ("auto", {}, "tls-alpn, http"),
        ({"email": "me@example.com"}, {}, "tls-alpn, http"),
        ({}, {"listen": ["https://127.0.0.1:8443", "http://127.0.0.1:80"]}, "http"),
        ({"challenge": ["tls-alpn"]}, {"listen": ["https://127.0.0.1:8443"]}, "tls-alpn"),
        ({}, {**ZONES, "listen": [*WEB, "udp://127.0.0.1:53"], "dispatch": [HOST, DNS]},
         "dns, tls-alpn, http"),
        ({}, ZONES, "tls-alpn, http"),  # nobody serves the zone
    ],
)  # fmt: skip
def test_the_challenges_are_those_that_can_work(tmp_path: Path, acme: Any, config: dict[str, Any], kinds: str) -> None:
    (text,) = told(tmp_path, acme, **config)
    assert text.startswith("certificate for www.example.com by https://acme-v02.api.letsencrypt.org/directory")
    assert text.endswith(f"({kinds})")


def test_addresses_share_a_certificate(tmp_path: Path) -> None:
    """A client that asks for one sends no server name: of two certificates it would be shown the first."""
    names = ["2001:0DB8:0:0::1", "www.example.com", "192.0.2.1", "192.0.2.1"]
    hosts = [{"handler": "respond", "host": ["[2001:db8::1]", "192.0.2.1", "www.example.com"], "body": "hello"}]
    acme = {"profile": "shortlived"}
    for texts in (told(tmp_path, acme, entry={"names": names}), told(tmp_path, acme, *hosts)):
        assert [re.sub(" by .*", "", text) for text in texts] == [
            "certificate for www.example.com",
            "certificate for 192.0.2.1, 2001:db8::1",
        ]
    many = [f"192.0.2.{number}" for number in range(1, 60)]
    assert told(tmp_path, {}, entry={"names": many})[0].startswith("certificate for 192.0.2.1, 192.0.2.10, ")


def test_a_profile_that_lets_encrypt_needs_is_warned_of(tmp_path: Path) -> None:
    entry = {"names": ["www.example.com", "9.9.9.8"]}
    (warning,) = told(tmp_path, {}, entry=entry)[2:]
    assert warning.startswith("Let's Encrypt certifies an IP address with a profile for it only: write ")
    assert warning.endswith('"profile": "shortlived" for \'9.9.9.8\'')
    for acme in ({"profile": "shortlived"}, {"directory": "https://ca.test/directory"}):
        assert len(told(tmp_path, acme, entry=entry)) == 2


def test_names_below_a_wildcard_have_its_certificate(tmp_path: Path) -> None:
    rules = [{**HOST, "host": ["*.example.com", "a.example.com", "b.a.example.com", "example.com"]}, DNS]
    found = told(tmp_path, {}, *rules, **ZONES, listen=[*WEB, "udp://127.0.0.1:53"])
    assert [text.split()[2] for text in found] == ["*.example.com", "b.a.example.com", "example.com"]


def test_local_hosts_have_certificates_of_the_local_authority(tmp_path: Path) -> None:
    hosts = {**HOST, "host": ["nas.home", "www.example.com"]}
    for tls in ("auto", [{"acme": {}}, {"internal": True}], [{"internal": True}, {"acme": {}}]):
        assert sorted(re.sub(" by .*", "", text) for text in told(tmp_path, tls, hosts)) == [
            "certificate for www.example.com",
            "certificate of the local authority for nas.home",
        ]
    demand = {"on_demand": {"ask": "http://127.0.0.1:5000/may"}}
    assert "certificate of the local authority for nas.home" in told(tmp_path, demand, {**HOST, "host": "nas.home"})


def test_a_ca_for_local_hosts_alone_is_told(tmp_path: Path) -> None:
    made, warning = told(tmp_path, "auto", {**HOST, "host": ["nas.home", "10.0.0.1"]})
    assert made == "certificate of the local authority for nas.home, 10.0.0.1"
    assert warning.startswith("'acme' has no effect: no public CA certifies 'nas.home'")
    assert 'write "internal" for it' in warning


FILE = {"cert": "one.crt", "key": "one.key"}
BY_HTTP = {"acme": {"challenge": ["http"]}, "names": ["a.example.com"]}
UNUSED = "'acme' has no effect: other certificates have the hosts of all rules"


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize(
    ("other", "hosts", "expected"),
    [
        (FILE, ["one.example.com"], [UNUSED]),
        (FILE, ["one.example.com", "a.example.com"], ["certificate for a.example.com (tls-alpn, http)"]),
        (BY_HTTP, ["a.example.com"], ["certificate for a.example.com (http)", UNUSED]),
        (
            BY_HTTP,
            ["a.example.com", "b.example.com"],
            ["certificate for a.example.com (http)", "certificate for b.example.com (tls-alpn, http)"],
        ),
        (
            {"acme": {"directory": "https://ca.test/directory"}, "names": ["127.0.0.1"]},
            ["127.0.0.1", "b.example.com"],
            [f"certificate for {name} (tls-alpn, http)" for name in ("127.0.0.1", "b.example.com")],
        ),
        (
            {"internal": True, "names": ["*.example.com"]},
            ["a.example.com", "example.com"],
            [
                "certificate for example.com (tls-alpn, http)",
                "certificate of the local authority for *.example.com",
            ],
        ),
    ],
)  # fmt: skip
def test_an_entry_without_names_takes_the_hosts_that_no_other_has(
    tmp_path: Path, certificates: Any, other: Any, hosts: list[str], expected: list[str], *, is_first: bool
) -> None:
    pair = certificates("one.example.com")
    (tmp_path / "one.crt").write_bytes(Path(pair.cert).read_bytes())
    (tmp_path / "one.key").write_bytes(Path(pair.key).read_bytes())
    tls = [{"acme": {}}, other]
    found = told(tmp_path, tls if is_first else tls[::-1], {**HOST, "host": hosts})
    assert sorted(re.sub(r" by \S+", "", text) for text in found) == sorted(expected)


@pytest.mark.parametrize(
    ("acme", "config", "message"),
    [
        ({}, {"dispatch": [{"handler": "respond", "body": "any"}]}, "'acme' finds no names: give a rule a 'host'"),
        ({}, {"listen": ["https://127.0.0.1:8443"]}, "no http listener on port 80 and no https listener on port 443"),
        ({}, {"entry": {"names": ["*.example.com"]}}, "a wildcard needs the challenge dns"),
        ({"challenge": ["http"]}, {"entry": {"names": ["*.example.com"]}}, "'challenge' allows http only"),
        ({}, {"entry": {"names": ["nas.home"]}}, "no public CA certifies 'nas.home'"),
        ({"email": "me"}, {}, "'email': expected an address"),
        ({"directory": "http://ca.test"}, {}, "'directory': expected an https URL"),
        ({}, {"entry": {"names": ["a b.example.com"]}}, "expected a domain name, got 'a b.example.com'"),
        ({"directory": []}, {}, "'directory' names no CA"),
        ({"eab_key_id": "kid"}, {}, "needs 'eab_key' as well"),
        ({"eab_key_id": "kid", "eab_key": "!!!"}, {}, "'eab_key': expected base64url"),
        ({"ca": "missing.pem"}, {}, "cannot read 'missing.pem'"),
        ({"ca": "/dev/null"}, {}, "'/dev/null' holds no certificate in PEM"),
        ({}, {"entry": {"internal": True}}, "'internal' has no effect with 'acme'"),
        ({"challenge": ["ftp"]}, {}, "challenge"),
        (
            {"challenge": ["dns"]},
            {"entry": {"names": ["9.9.9.8"]}},
            '\'challenge\' allows dns only, which cannot certify an IP address: add "http" or "tls-alpn" to it',
        ),
        (
            {"challenge": ["http"]},
            {"entry": {"names": ["*.example.com"]}},
            "'challenge' allows http only, but a wildcard needs dns: add \"dns\" to it, or leave it out",
        ),
        (
            {},
            {"listen": ["https://127.0.0.1:8443"], "entry": {"names": ["9.9.9.8"]}},
            "no https listener on port 443, and an IP address needs one of them; if these ports are forwarded",
        ),
    ],
)
def test_what_cannot_work_is_told(tmp_path: Path, acme: Any, config: dict[str, Any], message: str) -> None:
    found = told(tmp_path, acme, **config)
    assert any(message in text for text in found), found


OURS = {
    "listen": [*WEB, "udp://127.0.0.1:53"],
    "dns_zones": ["ours.example"],
    "dns": {"ours.example": {"A": "192.0.2.1"}},
}
ALIAS = {"dns_alias": "acme.ours.example"}


@pytest.mark.parametrize("name", ["www.example.com", "*.example.com"])
def test_an_alias_in_our_zone_lets_dns_work_and_the_cname_is_told(tmp_path: Path, name: str) -> None:
    found = told(tmp_path, ALIAS, HOST, DNS, **OURS, entry={"names": [name]})
    assert found[0].endswith("(dns)" if name[0] == "*" else "(dns, tls-alpn, http)")
    record = f"_acme-challenge.{name.removeprefix('*.')}"
    assert found[1:] == [f"needs the record: {record}. CNAME acme.ours.example."]


def test_a_record_that_two_certificates_need_is_told_once(tmp_path: Path) -> None:
    found = told(tmp_path, ALIAS, HOST, DNS, **OURS, entry={"names": ["example.com", "*.example.com", "192.0.2.1"]})
    assert [text for text in found if "CNAME" in text] == [
        "needs the record: _acme-challenge.example.com. CNAME acme.ours.example."
    ]


def test_a_cname_of_ours_is_followed(tmp_path: Path) -> None:
    (text,) = told(tmp_path, {}, {**HOST, "host": "www.ours.example"}, DNS, **with_cname("acme.ours.example"))
    assert text.endswith("(dns, tls-alpn, http)")


def test_one_that_leads_outside_is_told(tmp_path: Path) -> None:
    text, warning = told(tmp_path, {}, {**HOST, "host": "www.ours.example"}, DNS, **with_cname("acme.other.net"))
    assert text.endswith("(tls-alpn, http)")
    where = "_acme-challenge.www.ours.example is a CNAME that leads to 'acme.other.net', in none of our zones"
    assert warning == f"{where} (ours.example): it is answered elsewhere"


def with_cname(target: str) -> dict[str, Any]:
    return {**OURS, "dns": {**OURS["dns"], "_acme-challenge.www.ours.example": {"CNAME": target}}}


NS = {"dns": {"ours.example": {"NS": "ns.ours.example"}, "sub.ours.example": {"NS": "a.net"}}}


@pytest.mark.parametrize(
    ("acme", "config", "message"),
    [
        ({"dns_alias": "acme.net"}, {}, "'acme.net' is in none of our zones (ours.example): write a name in one"),
        (ALIAS, {"dispatch": [HOST], "listen": WEB}, "none of our zones, as no rule with handler dns serves one"),
        ({"dns_alias": "*.ours.example"}, {}, "expected one name, got the wildcard '*.ours.example'"),
        ({"dns_alias": "no name"}, {}, "'dns_alias': expected a domain name"),
        (
            {"dns_alias": "out.ours.example"},
            {"dns": {"out.ours.example": {"CNAME": "a.net"}}},
            "'out.ours.example' is a CNAME of 'a.net', which is in none of our zones (ours.example)",
        ),
        (
            {"dns_alias": "loop.ours.example"},
            {"dns": {"loop.ours.example": {"CNAME": "loop.ours.example"}}},
            "'loop.ours.example' is a CNAME that leads to no end",
        ),
        ({"dns_alias": "a.sub.ours.example"}, NS, "'a.sub.ours.example' is in none of our zones"),
        ({"challenge": ["dns"]}, {}, "'challenge' allows dns only, and the name is in no zone of 'dns' or 'dns_zones'"),
        ({**ALIAS, "challenge": ["http"]}, {}, "'dns_alias' has no effect: 'challenge' does not allow dns"),
        (
            {},
            {
                "entry": {"names": ["*.out.ours.example"]},
                "dns": {"_acme-challenge.out.ours.example": {"CNAME": "a.net"}},
            },
            "a wildcard needs the challenge dns, and _acme-challenge.out.ours.example is a CNAME that leads to 'a.net'",
        ),
    ],
)
def test_aliases_that_cannot_work_are_told(
    tmp_path: Path, acme: dict[str, Any], config: dict[str, Any], message: str
) -> None:
    config = dict(config)
    found = told(tmp_path, acme, *config.pop("dispatch", [HOST, DNS]), **{**OURS, **config})
    assert any(message in text for text in found), found


SECRET = "c2VjcmV0LXRoYXQtbm8tbWVzc2FnZS1tYXktcXVvdGU="
UPDATE = {"server": "192.0.2.53", "zone": "example.com", "key_name": "npserver", "key": SECRET}
AT = "updates of the zone example.com at name server 192.0.2.53 port 53, signed by the key npserver (hmac-sha256)"


@pytest.mark.parametrize(
    ("update", "shown"),
    [
        (UPDATE, AT),
        ({**UPDATE, "zone": ["example.net", "Example.COM."], "key_name": "NPserver."}, AT),
        (
            {**UPDATE, "server": "[2001:db8::53]:5353", "algorithm": "hmac-sha512"},
            AT.replace("192.0.2.53 port 53", "2001:db8::53 port 5353").replace("sha256", "sha512"),
        ),
        ({"server": "ns.test", "zone": "example.com", "key_file": "bind.key"}, AT.replace("192.0.2.53", "ns.test")),
        ({**UPDATE, "key": "", "key_file": "plain.key"}, AT),
    ],
)
def test_updates_of_another_server_let_dns_work(tmp_path: Path, update: dict[str, Any], shown: str) -> None:
    (tmp_path / "plain.key").write_text(f"{SECRET}\n")
    (tmp_path / "bind.key").write_text(f'key "npserver" {{ algorithm hmac-sha256; secret "{SECRET}"; }};')
    found = told(tmp_path, {"dns_update": update}, entry={"names": ["*.example.com", "example.com"]})
    assert found[0].endswith("(dns)")
    assert found[1].endswith("(dns, tls-alpn, http)")
    assert [text for text in found[2:] if "lies in" not in text] == [shown]


def test_the_alias_may_lie_at_the_other_server(tmp_path: Path) -> None:
    found = told(tmp_path, {"dns_update": UPDATE, "dns_alias": "acme.example.com"}, entry={"names": ["*.example.net"]})
    assert found[1:] == [AT, "needs the record: _acme-challenge.example.net. CNAME acme.example.com."]


@pytest.mark.parametrize(
    ("update", "message"),
    [
        ({"server": "udp://192.0.2.53"}, "'server': updates go over TCP, without a scheme"),
        ({"server": "192.0.2.53:0"}, "'server': port 0"),
        ({"server": "2001:db8::53"}, "'server': IPv6 addresses stand in brackets"),
        ({"zone": []}, "'zone': expected the zones of the server, got an empty list"),
        ({"zone": ["example.com", "no zone"]}, "'zone': expected a domain name, got 'no zone'"),
        (
            {"zone": ["example.net", "example.org"]},
            "the name is neither in 'dns_update.zone' ('example.net', 'example.org') nor in a zone of 'dns' or",
        ),
        ({"key": ""}, "'dns_update' needs 'key_file' or 'key'"),
        ({"key_file": "bind.key"}, "both 'key' and 'key_file' are given"),
        ({"key": f"{SECRET}!"}, "'key': expected the secret in base64"),
        ({"key_name": ""}, "'key_name' is needed: the name that the server has for the key"),
        ({"key_name": "no name"}, "'key_name': expected a domain name, got 'no name'"),
        ({"key": "", "key_file": "missing"}, "cannot read 'missing'"),
        ({"key": "", "key_file": "bind.key"}, "'key_name' is 'npserver', but 'key_file' says 'other'"),
        ({"key": "", "key_file": "md5.key"}, "the algorithm 'hmac-md5' is not supported: make a key with hmac-sha256"),
        ({"key": "", "key_file": "two.key"}, "'key_file': it holds neither a secret in base64"),
        ({"algorithm": "hmac-md5"}, "algorithm"),
        ({"timeout": "5m"}, "'timeout': expected up to 240 s"),
        ({"propagation": "5m"}, "'propagation': expected up to 240 s"),
    ],
)
def test_updates_that_cannot_work_are_told_without_the_secret(
    tmp_path: Path, update: dict[str, Any], message: str
) -> None:
    (tmp_path / "bind.key").write_text(f'key "other" {{ algorithm hmac-sha256; secret "{SECRET}"; }};')
    (tmp_path / "md5.key").write_text(f'key "npserver" {{ algorithm hmac-md5; secret "{SECRET}"; }};')
    (tmp_path / "two.key").write_text(f"{SECRET} {SECRET}")
    found = told(tmp_path, {"dns_update": {**UPDATE, **update}}, entry={"names": ["*.example.com"]})
    assert any(message in text for text in found), found
    assert not any(SECRET in text for text in found)


UNUSED_ZONE = "'zone': no name to certify lies in"


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("example.com", []),
        (["example.com", "www.example.com", "example.org"], [f"{UNUSED_ZONE} 'example.com': leave it out"]),
        (
            "exmple.com",
            ["'zone': no name to certify lies in 'exmple.com': write the zone that holds 'www.example.com'"],
        ),
        (["example.com", "example.org"], []),
    ],
)
def test_a_zone_that_no_name_needs_is_warned_of(tmp_path: Path, zone: Any, expected: list[str]) -> None:
    """The names of both listeners count."""
    acme = {"dns_update": {**UPDATE, "zone": zone}}
    listen = [*WEB, "https://127.0.0.1:8443"]
    other = {**HOST, "host": "a.example.org", "listener": "https://127.0.0.1:8443"}
    found = told(tmp_path, acme, {**HOST, "listener": WEB}, other, listen=listen)
    assert [text for text in found if "lies in" in text] == expected
    demand = {**acme, "on_demand": {"ask": "http://127.0.0.1:5000/may"}}
    assert not [text for text in told(tmp_path, demand) if "lies in" in text], "names may come that lie in it"


def test_updates_without_port_80_or_443_need_the_zone(tmp_path: Path) -> None:
    config = {"listen": ["https://127.0.0.1:8443"]}
    (text,) = told(tmp_path, {"dns_update": {**UPDATE, "zone": "exmple.com"}}, **config)
    assert "the name is neither in 'dns_update.zone' ('exmple.com') nor in a zone of 'dns'" in text


def test_an_alias_that_lies_in_neither_is_told(tmp_path: Path) -> None:
    acme = {"dns_update": UPDATE, "dns_alias": "acme.example.org"}
    (text,) = told(tmp_path, acme, entry={"names": ["*.example.net"]})
    where = "in no zone of 'dns_update' (example.com), nor in one of ours"
    assert text == f"'dns_alias': 'acme.example.org' is {where}: write a name in one of them"


def test_updates_that_the_challenges_exclude_are_told(tmp_path: Path) -> None:
    found = told(tmp_path, {"dns_update": UPDATE, "challenge": ["http"]})
    assert found[-1] == "'dns_update' has no effect: 'challenge' does not allow dns"


def test_the_section_does_not_tell_the_secret() -> None:
    section = convert({"dns_update": UPDATE}, Acme)
    assert "npserver" in repr(section)
    assert SECRET not in repr(section)
