"""What `npserver check` says about published names: what it would make, and what is wrong.

Covers `nameserver.publish.compile`, `nameserver.publish.hosts` and `nameserver.publish.zones`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from npserver.cli.check import check
from npserver.errors import ConfigError
from npserver.nameserver.publish import addresses
from npserver.runtime.interfaces import InterfaceAddress

RULE = {"handler": "respond", "host": "photos.example.com", "publish": True}
LETS_ENCRYPT = {"acme": {}}
DNS = {"name": "dns", "uri": "udp://192.168.1.1:53"}
HTTPS = ["https://:443", DNS]
Said = Callable[..., tuple[list[str], list[str]]]


def config(rule: dict[str, Any] | None = None, *others: dict[str, Any], **parts: Any) -> dict[str, Any]:
    return {
        "listen": ["http://:80", DNS],
        "dns_zones": ["example.com"],
        "public_address": "203.0.113.7",
        "dispatch": [{**RULE, **(rule or {})}, *others, {"listener": "dns", "handler": "dns"}],
        **parts,
    }


@pytest.fixture
def said(tmp_path: Path) -> Said:
    """Return what is published, and the problems, each with its line and column."""

    def ask(parts: dict[str, Any]) -> tuple[list[str], list[str]]:
        file = tmp_path / "npserver.json"
        file.write_text(json.dumps({"store": str(tmp_path / "store"), **parts}))
        try:
            problems, served = check(str(file))
        except ConfigError as error:
            return [], [str(problem).removeprefix(str(file)) for problem in error.problems]
        return (
            [what.removeprefix("publishes ") for area, what in served if area == "DNS"],
            [str(problem).removeprefix(str(file)) for problem in problems],
        )

    return ask


class TestWhatIsMade:
    def test_over_http_alone_there_are_addresses(self, said: Said) -> None:
        assert said(config()) == (["photos.example.com: A 203.0.113.7"], [])

    def test_over_https_there_is_an_https_record_with_the_port_and_caa(self, said: Said) -> None:
        made, problems = said(
            config(
                listen=["https://:8443", "http://:80", "udp://192.168.1.1:53"],
                tls=LETS_ENCRYPT,
                dispatch=[RULE, {"handler": "dns"}],
            )
        )
        expected = "A 203.0.113.7, HTTPS alpn=h2,http/1.1 port=8443, CAA issue letsencrypt.org"
        assert made == [f"photos.example.com: {expected}"]
        assert problems == []

    def test_http3_is_offered_first(self, said: Said) -> None:
        listen = [{"uri": "https://:443", "http3": True}, DNS]
        made, problems = said(config(listen=listen, tls=LETS_ENCRYPT))
        assert "HTTPS alpn=h3,h2,http/1.1," in made[0]
        assert problems == []

    @pytest.mark.parametrize("near", ["https://127.0.0.1:443", "https://10.0.0.7:443"])
    def test_the_https_record_is_of_the_listener_that_most_clients_reach(self, said: Said, near: str) -> None:
        made, _ = said(config(listen=[near, "https://:8443", DNS], tls=LETS_ENCRYPT))
        assert "HTTPS alpn=h2,http/1.1 port=8443" in made[0]

    def test_the_https_record_is_of_port_443_if_there_is_one(self, said: Said) -> None:
        listen = ["https://:8443", "https://:443", DNS]
        made, _ = said(config(listen=listen, tls=[{"internal": True, "http2": False}]))
        assert made == ["photos.example.com: A 203.0.113.7, HTTPS alpn=http/1.1"]

    @pytest.mark.parametrize(
        ("http", "https", "is_made"),
        [
            ("http://:80", "https://:443", True),
            ("http://10.0.0.7:80", "https://:443", True),
            ("http://10.0.0.7:80", "https://0.0.0.0:443", True),
            ("http://:80", "https://0.0.0.0:443", False),
            ("http://:80", "https://127.0.0.1:443", False),
            ("http://10.0.0.7:80", "https://192.168.1.1:443", False),
        ],
    )
    def test_the_https_record_promises_https_wherever_the_name_leads(
        self, said: Said, http: str, https: str, is_made: bool
    ) -> None:
        made, _ = said(config(listen=[http, https, DNS], tls={"internal": True}))
        assert ("HTTPS" in made[0]) is is_made

    def test_a_listener_with_a_host_name_may_be_on_any_address(self, said: Said) -> None:
        assert said(config(listen=["http://web.example.net:80", DNS])) == (["photos.example.com: A 203.0.113.7"], [])

    def test_a_wildcard_has_its_caa_at_the_name_where_cas_look(self, said: Said) -> None:
        made, _ = said(config({"host": ["*.example.com"]}, listen=HTTPS, tls=LETS_ENCRYPT))
        assert made == ["*.example.com: A 203.0.113.7, HTTPS alpn=h2,http/1.1, CAA issuewild letsencrypt.org"]

    def test_other_cas_have_caa_only_where_all_are_known(self, said: Said) -> None:
        def caa(*directories: str) -> str:
            made, _ = said(config(listen=HTTPS, tls={"acme": {"directory": list(directories)}}))
            return made[0].partition("http/1.1")[2]

        ours, zero = "https://ca.example/directory", "https://acme.zerossl.com/v2/DV90"
        assert caa(ours) == ""
        assert caa(zero) == ", CAA issue sectigo.com"
        assert caa("https://acme-v02.api.letsencrypt.org/directory", zero) == (
            ", CAA issue letsencrypt.org, CAA issue sectigo.com"
        )
        assert caa(zero, ours) == ""

    def test_each_view_has_a_line(self, said: Said) -> None:
        views = [{"from": "office", "dns": {}}, {"from": ["127.0.0.1", "127.0.0.3"], "dns": {}}]
        made, _ = said(config(dns_views=views, networks={"office": ["10.0.0.0/8"]}, listen=["http://10.0.0.7:80", DNS]))
        assert made == [
            "photos.example.com to office: A 10.0.0.7",
            "photos.example.com to 127.0.0.1, 127.0.0.3: A 10.0.0.7",
            "photos.example.com to all other clients: A 203.0.113.7",
        ]

    def test_clients_who_ask_at_a_private_address_are_told_a_private_one(self, said: Said) -> None:
        made, problems = said(
            config(
                {"host": "nas.home"},
                dns_zones=["home"],
                public_address="interface",
                listen=["http://192.168.1.1:80", DNS],
            )
        )
        assert made == ["nas.home: A 192.168.1.1"]
        assert problems == []

    def test_a_forward_by_server_name_has_addresses(self, said: Said) -> None:
        rule = {"handler": "forward", "sni": "git.example.com", "forward_to": "tcp://10.0.0.5:443", "publish": True}
        made, problems = said(
            config(listen=["tcp://:443", DNS], dispatch=[rule, {"listener": "dns", "handler": "dns"}])
        )
        assert made == ["git.example.com: A 203.0.113.7"]
        assert problems == []

    def test_ptr_records_are_shown(self, said: Said) -> None:
        """In the views that have them, but not where the config gives another one."""
        dns = {"9.2.0.192.in-addr.arpa": {"PTR": "x.example.com"}}
        public = ["203.0.113.7", "2001:db8::7"]
        made, problems = said(config(dns_auto_ptr=True, public_address=public))
        assert made == ["photos.example.com: A 203.0.113.7, AAAA 2001:db8::7, PTR of 203.0.113.7, PTR of 2001:db8::7"]
        assert problems == []
        made, _ = said(config(dns_auto_ptr=True, public_address="192.0.2.9", dns=dns))
        assert made == ["photos.example.com: A 192.0.2.9"]
        made, _ = said(config({"host": "*.example.com"}, dns_auto_ptr=True))
        assert made == ["*.example.com: A 203.0.113.7"]

    def test_rules_for_paths_of_a_host_are_one_name(self, said: Said) -> None:
        made, _ = said(config({}, {**RULE, "path": "/api/**"}, {**RULE, "host": ["PHOTOS.example.com."], "path": "/b"}))
        assert made == ["photos.example.com: A 203.0.113.7"]


class TestRecordsOfTheConfig:
    def test_they_win_type_by_type(self, said: Said) -> None:
        dns = {"photos.example.com": {"A": "192.0.2.9", "HTTPS": "0 other.example.com"}}
        made, _ = said(config(dns=dns, public_address=["203.0.113.7", "2001:db8::7"]))
        assert made == ["photos.example.com: A 192.0.2.9, AAAA 2001:db8::7, HTTPS of the config"]

    def test_with_a_cname_nothing_is_made(self, said: Said) -> None:
        made, problems = said(config(dns={"photos.example.com": {"CNAME": "www.example.com"}}))
        assert made == ["photos.example.com: nothing"]
        assert len(problems) == 1
        assert "warning: 'publish' makes nothing for 'photos.example.com', which has a CNAME record" in problems[0]

    def test_with_the_cname_of_a_wildcard_there_is_no_caa_above_it_either(self, said: Said) -> None:
        dns = {"*.example.com": {"CNAME": "www.example.net"}}
        made, problems = said(config({"host": "*.example.com"}, dns=dns, listen=HTTPS, tls=LETS_ENCRYPT))
        assert made == ["*.example.com: nothing"]
        assert len(problems) == 1

    @pytest.mark.parametrize("name", ["photos.example.com", "example.com"])
    def test_caa_of_the_name_or_above_decides(self, said: Said, name: str) -> None:
        made, problems = said(
            config(listen=HTTPS, tls=LETS_ENCRYPT, dns={name: {"CAA": '0 issue "letsencrypt.org; x=y"'}})
        )
        assert made == ["photos.example.com: A 203.0.113.7, HTTPS alpn=h2,http/1.1"]
        assert problems == []

    def test_caa_that_forbids_the_ca_is_told(self, said: Said) -> None:
        _, problems = said(config(listen=HTTPS, tls=LETS_ENCRYPT, dns={"example.com": {"CAA": '0 issue "ca.example"'}}))
        assert len(problems) == 1
        assert (
            "CAA: these records keep letsencrypt.org from issuing the certificate for 'photos.example.com'"
            in (problems[0])
        )


WRONG: list[tuple[dict[str, Any], str]] = [
    (config({"host": None}), "'publish' needs 'host': the name to make records for"),
    (config({"host": "*"}), "'publish' needs a name: '*' stands for any host"),
    (config({"host": "photos.example.com:8080"}), "makes a name for all ports: write 'photos.example.com' without"),
    (config({"host": "192.0.2.1"}), "'publish' makes records for names: '192.0.2.1' is an address"),
    (config({"host": "[::1]"}), "'publish' makes records for names: '[::1]' is an address"),
    (config({"host": "a~b.example.com"}), "'publish' cannot make this name: expected a domain name"),
    (
        config({"host": "photos.example.org"}),
        'photos.example.org\' is in none of our zones (example.com): write "dns_zones": ["example.org"] if that domain',
    ),
    (config(dns_zones=[]), '\'photos.example.com\' is in none of our zones: write "dns_zones": ["example.com"]'),
    (
        config(dns={"photos.example.com": {"NS": "ns.example.net"}}),
        "'photos.example.com' is delegated by the NS records of photos.example.com to other name servers",
    ),
    (
        config(dns={"example.com": {"DNAME": "example.org"}}),
        "'photos.example.com' lies below the DNAME of example.com: remove it, or 'publish'",
    ),
    (
        config(listen=["http://:80"], dispatch=[RULE]),
        "'publish' needs a name server: add a rule with handler 'dns', and a udp and a tcp listener for it",
    ),
    (
        config(listen=["http://127.0.0.1:80", DNS]),
        "'photos.example.com' is known for clients: its listeners are bound to this machine (127.0.0.1): listen",
    ),
    (
        config({"listener": "app"}, listen=[{"name": "app", "uri": "unix:///tmp/a.sock"}, DNS]),
        "'photos.example.com' has no address: the listeners of its rule are Unix sockets",
    ),
    (
        config(listen=["http://0.0.0.0:80", DNS], public_address="2001:db8::7"),
        "no address of 'photos.example.com' is known for clients: no public address leads to its listeners: write",
    ),
    (
        config(listen=HTTPS, tls={"internal": True, "names": ["other.home"]}),
        "'https://:443' has no certificate for 'photos.example.com': add it to 'names' of 'tls'",
    ),
    (
        config(listen=HTTPS),
        'or add "tls": "auto", or start with -acme',
    ),
    (config({"publish": False}), "'public_address' is not used: no rule has 'publish'"),
    (config({"publish": False}, public_address="x"), "'public_address': expected an IP address"),
]


@pytest.mark.parametrize(("parts", "problem"), WRONG, ids=[problem for _, problem in WRONG])
def test_what_is_wrong_is_said_with_its_place(said: Said, parts: dict[str, Any], problem: str) -> None:
    _, problems = said(parts)
    assert [one for one in problems if problem in one], problems
    assert all(one.startswith(":1:") for one in problems if problem in one)


class TestWithoutAPublicAddress:
    VIEWS = ({"from": "10.0.0.0/8", "dns": {}},)
    LISTEN = ("http://10.0.0.7:80", "udp://203.0.113.53:53")

    def parts(self, public: Any) -> dict[str, Any]:
        return config(
            listen=list(self.LISTEN),
            dns_views=list(self.VIEWS),
            public_address=public,
            dispatch=[RULE, {"handler": "dns"}],
        )

    def test_where_some_clients_have_one_it_is_a_warning(self, said: Said) -> None:
        made, problems = said(self.parts("2001:db8::7"))
        assert made == [
            "photos.example.com to 10.0.0.0/8: A 10.0.0.7",
            "photos.example.com to all other clients: no address",
        ]
        assert len(problems) == 1
        assert "warning: 'publish': no address of 'photos.example.com' is known for all other clients" in problems[0]
        assert 'write "public_address", or [] if there is none' in problems[0]

    @pytest.mark.parametrize(
        ("public", "shown"),
        [([], "no address"), ({"ask": "https://ip.example.net/"}, "the address that public_address.ask gives")],
    )
    def test_it_is_fine_where_there_is_none_or_it_will_be_asked_for(self, said: Said, public: Any, shown: str) -> None:
        made, problems = said(self.parts(public))
        assert made[1] == f"photos.example.com to all other clients: {shown}"
        assert problems == []

    def test_a_listener_for_this_machine_alone_is_told_of_where_others_ask(self, said: Said) -> None:
        views = [{"from": "127.0.0.0/8", "dns": {}}]
        made, problems = said(config(listen=["http://127.0.0.1:80", DNS], dns_views=views))
        assert made[0] == "photos.example.com to 127.0.0.0/8: A 127.0.0.1"
        assert len(problems) == 1
        assert (
            "warning: 'publish': no address of 'photos.example.com' is known for all other clients: its listeners"
            in (problems[0])
        )

    def test_addresses_of_ipv6_alone_are_told_of_where_nobody_has_said_so(
        self, said: Said, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = [InterfaceAddress(ip_address("2a00:2::7"))]
        monkeypatch.setattr(addresses, "interface_addresses", lambda: found)
        made, problems = said(config(public_address="interface", listen=["http://:80", "udp://:53"],
                                     dispatch=[RULE, {"handler": "dns", "public": True}]))  # fmt: skip
        assert made == ["photos.example.com: AAAA 2a00:2::7"]
        assert len(problems) == 1
        assert "warning: 'publish': clients without IPv6 cannot reach 'photos.example.com'" in problems[0]
        assert said(config(public_address="2a00:2::7"))[1] == []

    def test_a_local_name_does_not_get_the_public_address(self, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(addresses, "interface_addresses", list)
        parts = config({"host": "nas.home"}, dns_zones=["home"], public_address="9.9.9.9")
        _, (problem,) = said(parts)
        assert problem.endswith(
            "'publish': no address of 'nas.home' is known for clients: this machine has no private address that they "
            'can reach: write an A or AAAA record into "dns"'
        )
        assert said({**parts, "dns": {"nas.home": {"A": "192.168.1.9"}}}) == (["nas.home: A 192.168.1.9"], [])
