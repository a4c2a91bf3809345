"""The config that a command line describes, alone or on top of a file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from npserver.cli.overrides import from_arguments
from npserver.config.load import load_text
from npserver.errors import ConfigError, Severity
from npserver.forward.config import ForwardRule
from npserver.process.dry_run import dry_run
from npserver.runtime.scoreboard import Directory
from npserver.tls.acme.config import Acme
from npserver.tls.acme.service import AcmeService
from npserver.tls.config import Tls
from npserver.web.handlers.fastcgi.config import FastcgiRule
from npserver.web.handlers.proxy.config import ProxyRule


class TestArguments:
    """The config that a command line describes."""

    @pytest.mark.parametrize(
        ("uri", "to", "rule"),
        [
            ("tcp://:3307", "db:3306", ForwardRule(listener="tcp://:3307", forward_to="tcp://db:3306")),
            ("udp://:53", "8.8.8.8:53", ForwardRule(listener="udp://:53", forward_to="udp://8.8.8.8:53")),
            ("tcp://:1", "udp://a:1", ForwardRule(listener="tcp://:1", forward_to="udp://a:1")),
            ("tcp://:1", "/run/a", ForwardRule(listener="tcp://:1", forward_to="unix:///run/a")),
            ("unix:///a", "tcp://b:1", ForwardRule(listener="unix:///a", forward_to="tcp://b:1")),
            ("http://:80", "a:8000", ProxyRule(listener="http://:80", proxy_pass="http://a:8000")),
            ("https://:443", "http://a", ProxyRule(listener="https://:443", proxy_pass="http://a")),
            ("http://:80", "/run/a", ProxyRule(listener="http://:80", proxy_pass="unix:///run/a")),
            ("unix:///a", "http://b:1", ProxyRule(listener="unix:///a", proxy_pass="http://b:1")),
        ],
    )
    def test_a_target_makes_a_rule(self, uri: str, to: str, rule: ForwardRule | ProxyRule) -> None:
        config = from_arguments([(uri, [to])]).config
        assert config.listen == [uri]
        assert config.dispatch == [rule]

    @pytest.mark.parametrize(
        ("php", "to"),
        [
            ("/run/php.sock", "unix:///run/php.sock"),
            ("unix:/run/php.sock", "unix:///run/php.sock"),
            ("run/php.sock", f"unix://{os.getcwd()}/run/php.sock"),
            ("php:9000", "tcp://php:9000"),
            ("tcp://php:9000", "tcp://php:9000"),
        ],
    )
    def test_php_makes_a_rule_of_each_listener_without_a_target(self, php: str, to: str) -> None:
        listeners = [("http://:80", []), ("https://:443", ["a:1"]), ("tcp://:1", []), ("unix:///a", [])]
        config = from_arguments(listeners, php=php, root="site").config
        assert config.dispatch == [
            FastcgiRule(listener="http://:80", to=to, root="site"),
            ProxyRule(listener="https://:443", proxy_pass="http://a:1"),
            FastcgiRule(listener="unix:///a", to=to, root="site"),
        ]
        (rule,) = from_arguments([("http://:80", [])], php=php).config.dispatch
        assert rule == FastcgiRule(listener="http://:80", to=to)

    def test_several_targets_share_the_load(self) -> None:
        config = from_arguments([("tcp://:1", ["a:1", "b:1"])]).config
        (name,) = config.upstreams
        assert config.upstreams[name].targets == ["tcp://a:1", "tcp://b:1"]
        assert config.dispatch == [ForwardRule(listener="tcp://:1", forward_to=f"upstream://{name}")]

    def test_settings_are_taken_over(self) -> None:
        document = from_arguments([], cert="c", key="k", root="r", backlog=5, workers=0)
        config = document.config
        assert config.tls == Tls(cert="c", key="k")
        assert (config.root, config.backlog, config.workers) == ("r", 5, 0)
        assert document.place(("tls", "cert")) == "command line"

    def test_what_is_said_adds_to_a_file(self) -> None:
        base = load_text('{"listen": ["http://:80"],\n "backlog": 7, "root": "x"}', "c.json")
        document = from_arguments([("tcp://:1", ["a:1"])], backlog=9, base=base)
        assert document.config.listen == ["http://:80", "tcp://:1"]
        assert (document.config.backlog, document.config.root) == (9, "x")
        assert document.place(("listen", 0)) == "c.json:1:13"
        assert document.place(("listen", 1)) == "command line"
        assert document.place(("backlog",)) == "command line"
        assert document.place(("root",)) == "c.json:2:24"
        assert document.position(("dispatch", 0, "forward_to")) == (0, 0)

    def test_wrong_settings_are_named(self) -> None:
        with pytest.raises(ConfigError) as error:
            from_arguments([], cert="c", backlog=0, workers=-1)
        assert [str(problem) for problem in error.value.problems] == [
            "command line: 'backlog': expected a whole number from 1 to 65535, got 0",
            "command line: 'workers': expected a whole number from 0 to 1024, got -1",
            "command line: -cert requires -key",
        ]


class TestAcme:
    """`-acme EMAIL -host NAME`."""

    LISTENERS = (("https://:443", ()), ("http://:80", ()))

    @pytest.mark.parametrize(("acme", "email"), [("me@a.example", "me@a.example"), ("auto", "")])
    def test_it_is_the_key_acme_of_tls(self, acme: str, email: str) -> None:
        document = from_arguments(self.LISTENERS, acme=acme, hosts=["a.example", "b.example"])
        assert document.config.tls == Tls(acme=Acme(email=email), names=["a.example", "b.example"])
        assert document.place(("tls", "names", 0)) == "command line"

    def test_that_orders_a_certificate_for_each_name(self, tmp_path: Path) -> None:
        base = load_text(json.dumps({"store": str(tmp_path / "store")}), "c.json")
        document = from_arguments(self.LISTENERS, acme="auto", hosts=["a.example.org", "b.example.org"], base=base)
        (service,) = [one for one in dry_run(document, Directory()).services if isinstance(one, AcmeService)]
        directory = "https://acme-v02.api.letsencrypt.org/directory"
        assert service.describe() == [
            f"certificate for {name} by {directory} (tls-alpn, http)" for name in ("a.example.org", "b.example.org")
        ]

    def test_it_overrides_the_certificates_of_a_file(self) -> None:
        base = load_text('{"listen": ["https://:443"], "tls": {"cert": "a", "key": "b"}}', "c.json")
        assert from_arguments([], acme="auto", hosts=["a.example"], base=base).config.tls == Tls(
            acme=Acme(), names=["a.example"]
        )

    @pytest.mark.parametrize(
        ("uris", "hosts", "message"),
        [
            (["http://:80"], ["a.example"], "-acme requires a listener for TLS, such as https://:443"),
            (["https://:443"], [], "'acme' finds no names: give a rule a 'host', or write 'names'"),
            (["https://:443"], ["a b.example"], "expected a domain name, got 'a b.example'"),
            (
                ["https://:443"],
                ["nas.home"],
                "no public CA certifies 'nas.home': use \"internal\" for it (in a config ",
            ),
            (["https://:443"], ["*.a.example"], "no challenge can work for '*.a.example': a wildcard needs"),
            (["https://:8443"], ["a.example"], "no challenge can work for 'a.example': there is no http listener on"),
        ],
    )
    def test_what_cannot_work_is_refused(self, uris: list[str], hosts: list[str], message: str, tmp_path: Path) -> None:
        base = load_text(json.dumps({"store": str(tmp_path / "store")}), "c.json")
        with pytest.raises(ConfigError) as error:
            dry_run(from_arguments([(uri, ()) for uri in uris], acme="auto", hosts=hosts, base=base), Directory())
        (problem,) = [one for one in error.value.problems if one.severity is Severity.ERROR]
        assert str(problem).startswith(f"command line: {message}")

    def test_a_remedy_that_no_option_has_is_for_a_config_file(self, tmp_path: Path) -> None:
        """Also where the command line adds to a file; not if the file itself asks for the certificate."""
        asking = json.dumps({
            "store": str(tmp_path / "store"), "listen": ["https://127.0.0.1:8443"], "tls": {"acme": {}},
            "dispatch": [{"handler": "respond", "host": "a.example"}],
        })  # fmt: skip
        base = load_text(asking, "c.json")
        remedy = 'if these ports are forwarded here, write "challenge": ["http"] or ["tls-alpn"]'
        in_a_file = " (in a config file, which -config names: the command line has no option for it)"
        for document, end in (
            (from_arguments([], acme="auto", hosts=["a.example"], base=base), remedy + in_a_file),
            (base, remedy),
        ):
            with pytest.raises(ConfigError) as error:
                dry_run(document, Directory())
            (problem,) = error.value.problems
            assert problem.message.endswith(end)
