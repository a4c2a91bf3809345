"""The config that a command line describes, alone or on top of a file."""

from __future__ import annotations

import pytest

from npserver.cli.overrides import from_arguments
from npserver.config.load import load_text
from npserver.errors import ConfigError
from npserver.forward.config import ForwardRule
from npserver.tls.config import Tls
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
