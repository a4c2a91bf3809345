"""Which listener gets which rules, and what is said about rules and listeners that cannot work."""

from __future__ import annotations

from pathlib import Path

import pytest

from npserver.cli.overrides import from_arguments
from npserver.config.load import load_text
from npserver.config.report import Report
from npserver.listen.compile import compile_listeners
from npserver.listen.listener import Listener
from npserver.program.assignment import assign_rules, speaks_http
from npserver.program.summary import summarise
from npserver.web.handlers.respond.config import RespondRule
from npserver.web.handlers.static.config import StaticRule


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Assigned:
    """A config taken as far as the rules of its listeners."""

    def __init__(self, text: str) -> None:
        self.report = Report(load_text(text, "c.json"))
        self.listeners = compile_listeners(self.report)
        self.rules = assign_rules(self.report, self.listeners)

    @property
    def problems(self) -> list[str]:
        return [str(problem) for problem in self.report.problems]

    @property
    def indices(self) -> dict[str, list[int]]:
        """Per listener's key, the indices of its rules."""
        return {key: [index for index, _ in rules] for key, rules in self.rules.items()}


def config(listen: str, dispatch: str) -> str:
    """A config with each listener and each rule on a line of its own, from line 2 on."""
    return f'{{"listen": [\n{listen}\n], "dispatch": [\n{dispatch}\n]}}'


class TestListeners:
    def test_all_that_is_compiled(self) -> None:
        assigned = Assigned(
            '{"listen": ["http://:80", {"name": "app", "uri": "unix:///tmp/a", "mode": "0660", "backlog": 9}],'
            ' "backlog": 5, "timeouts": {"tls_handshake": 3, "proxy_header": 2}}'
        )
        web, app = assigned.listeners.values()
        assert (web.key, web.name, web.backlog, web.mode, web.place) == (
            "http://:80", "http://:80", 5, None, "c.json:1:13",
        )  # fmt: skip
        assert (app.key, app.name, app.backlog, app.mode) == ("unix:///tmp/a", "app", 9, 0o660)
        assert (web.handshake_timeout_s, web.proxy_header_timeout_s) == (3, 2)
        assert web.accepts_proxy is None

    def test_networks_that_send_a_proxy_header(self) -> None:
        assigned = Assigned('{"listen": [{"uri": "http://:80", "accept_proxy": "10.0.0.0/8"}]}')
        accepts = assigned.listeners[0].accepts_proxy
        assert accepts is not None
        assert (accepts("10.1.1.1"), accepts("192.0.2.1")) == (True, False)

    def test_listeners_on_ports_of_the_kernels_choice_have_keys_of_their_own(self) -> None:
        assigned = Assigned('{"listen": ["http://127.0.0.1:0", "http://127.0.0.1:0"]}')
        assert [one.key for one in assigned.listeners.values()] == ["http://127.0.0.1:0", "http://127.0.0.1:0#2"]
        assert assigned.problems == []

    @pytest.mark.parametrize(
        ("rule", "uri", "port"),
        [
            ('{"handler": "dns", "listener": "ns"}', "udp://127.0.0.1", 53),
            ('{"handler": "dns"}', "tcp://127.0.0.1", 53),
        ],
    )
    def test_name_servers_have_a_default_port(self, rule: str, uri: str, port: int) -> None:
        assigned = Assigned(config(f'{{"name": "ns", "uri": "{uri}"}}', rule))
        assert assigned.problems == []
        assert assigned.listeners[0].address.port == port

    @pytest.mark.parametrize(
        ("listen", "problem"),
        [
            ("", 'c.json:1:12: nothing to listen on, add "listen": ["http://:8080"]'),
            ('"htp://:80"', "c.json:2:1: unknown scheme 'htp' in 'htp://:80'; did you mean 'http://'?"),
            (
                '{"uri": "http://:99999"}',
                "c.json:2:9: port '99999' is out of range, at most 65535 is possible: 'http://:99999'",
            ),
            (
                '"http://:80",\n"http://127.0.0.1:80"',
                "c.json:3:1: port 80 bound twice: 'http://127.0.0.1:80' overlaps 'http://:80' at c.json:2:1",
            ),
            ('"http://127.0.0.1:80",\n"tcp://0.0.0.0:80"', "c.json:3:1: port 80 bound twice"),
            ('"http://[::1]:80",\n"tcp://[::]:80"', "c.json:3:1: port 80 bound twice"),
            ('"http://localhost:80",\n"tcp://127.0.0.1:80"', "c.json:3:1: port 80 bound twice"),
            ('"http://localhost:80",\n"tcp://0.0.0.0:80"', "c.json:3:1: port 80 bound twice"),
            ('"unix:///tmp/a",\n"unixgram:///tmp/a"', "c.json:3:1: socket bound twice"),
            (
                '{"name": "a", "uri": "http://:80"},\n{"name": "a", "uri": "http://:81"}',
                "c.json:3:10: two listeners are named 'a', see c.json:2:1",
            ),
            ('{"uri": "http://:80", "mode": "0660"}', "c.json:2:31: 'mode' is for Unix sockets, not for 'http://:80'"),
            (
                '{"uri": "unix:///tmp/a", "mode": "660x"}',
                "c.json:2:34: 'mode': expected octal permissions such as \"0660\"",
            ),
            ('{"uri": "unix:///tmp/a", "mode": "4755"}', "'mode': expected octal permissions"),
            (
                '{"uri": "http://:80", "tls": {"cert": "c", "key": "k"}}',
                "c.json:2:30: 'tls' has no effect on 'http://:80'; use https://",
            ),
            ('"https://:443"', "c.json:2:1: 'https://:443' needs a certificate: add \"tls\""),
            ('{"uri": "http://:80", "accept_proxy": "lan"}', "c.json:2:39: unknown network 'lan'"),
        ],
    )
    def test_what_cannot_be_listened_on(self, listen: str, problem: str) -> None:
        found = Assigned(config(listen, "")).problems
        assert len(found) == 1, found
        assert found[0].startswith(problem) or problem in found[0]

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("http://:80", "udp://:80"),
            ("http://127.0.0.1:80", "http://127.0.0.2:80"),
            ("http://127.0.0.1:80", "http://[::1]:80"),
            ("http://127.0.0.1:80", "http://[::]:80"),
            ("http://0.0.0.0:80", "http://[::1]:80"),
            ("http://localhost:80", "http://192.0.2.1:80"),
            ("http://127.0.0.1:80", "http://127.0.0.1:81"),
        ],
    )
    def test_what_is_not_in_each_others_way(self, one: str, other: str) -> None:
        report = Report(load_text(f'{{"listen": ["{one}", "{other}"]}}', "c.json"))
        compile_listeners(report)
        assert report.problems == []


class TestRules:
    def test_rules_go_where_they_say_and_else_to_all_that_speak_http(self) -> None:
        assigned = Assigned(
            config(
                '{"name": "web", "uri": "http://:80"},\n"http://:81",\n"unix:///tmp/a",\n"unix:///tmp/b",\n"tcp://:1"',
                '{"handler": "respond"},\n'
                '{"handler": "respond", "path": "/web", "listener": "web"},\n'
                '{"handler": "respond", "path": "/81", "listener": ["http://:81", "http://:81"]},\n'
                '{"handler": "forward", "listener": ["unix:///tmp/b", "tcp://:1"], "forward_to": "tcp://x:1"}',
            )
        )
        assert assigned.problems == []
        assert assigned.indices == {
            "http://:80": [0, 1],
            "http://:81": [0, 2],
            "unix:///tmp/a": [0],
            "unix:///tmp/b": [3],
            "tcp://:1": [3],
        }

    def test_a_listener_may_be_named_as_it_is_understood(self) -> None:
        assigned = Assigned(config('"http://*:80"', '{"handler": "respond", "listener": "http://:80"}'))
        assert assigned.indices == {"http://:80": [0]}

    def test_forwards_and_name_servers_without_listener_take_what_no_rule_names(self) -> None:
        assigned = Assigned(
            config(
                '"http://:80",\n"tcp://:1",\n"tcp://:2",\n"unix:///tmp/a"',
                '{"handler": "forward", "forward_to": "tcp://x:1"},\n'
                '{"handler": "forward", "listener": "tcp://:2", "forward_to": "tcp://x:2"}',
            )
        )
        assert assigned.problems == []
        assert assigned.indices == {"http://:80": [-1], "tcp://:1": [0], "tcp://:2": [1], "unix:///tmp/a": [-1]}

    def test_dns_over_https_only_where_it_is_asked_for(self) -> None:
        listen = '"udp://127.0.0.1:53",\n"http://:80"'
        assert Assigned(config(listen, '{"handler": "dns"}')).indices == {"udp://127.0.0.1:53": [0], "http://:80": [-1]}
        named = Assigned(config(listen, '{"handler": "dns", "listener": ["udp://127.0.0.1:53", "http://:80"]}'))
        assert named.indices == {"udp://127.0.0.1:53": [0], "http://:80": [0]}
        assert named.problems == []

    def test_two_bare_forwards_on_a_listener_the_first_counts(self) -> None:
        assigned = Assigned(
            config(
                '{"name": "s", "uri": "tcp://:1"}',
                '{"handler": "forward", "listener": "s", "forward_to": "tcp://x:1"},\n'
                '{"handler": "forward", "listener": "s", "forward_to": "tcp://x:2", "sni": "a"},\n'
                '{"handler": "forward", "listener": "s", "forward_to": "tcp://x:3", "from": ["10.0.0.0/8"]},\n'
                '{"handler": "forward", "listener": "s", "forward_to": "tcp://x:4"},\n'
                '{"handler": "forward", "listener": "s", "forward_to": "tcp://x:5", "from": "10.0.0.0/8"}',
            )
        )
        assert assigned.indices == {"tcp://:1": [0, 1, 2]}
        assert assigned.problems == [
            f"c.json:{one}:1: warning: this rule is never used: listener 's' has the rule at c.json:{other}:1 already; "
            'tell them apart by "from" or "sni"'
            for one, other in ((7, 4), (8, 6))
        ]

    @pytest.mark.parametrize(
        ("listen", "rule", "problem"),
        [
            (
                '{"name": "web", "uri": "http://:80"}',
                '{"handler": "respond", "listener": "wbe"}',
                "c.json:4:36: unknown listener 'wbe'; did you mean 'web'?",
            ),
            (
                '{"name": "web", "uri": "http://:80"}',
                '{"handler": "respond", "listener": ["web", "zzz"]}',
                "c.json:4:44: unknown listener 'zzz'; known: 'web', 'http://:80'",
            ),
            ('"http://:80"', '{"handler": "respond", "listener": []}', "c.json:4:36: 'listener' names none"),
            (
                '"tcp://:80"',
                '{"handler": "static", "listener": "tcp://:80"}',
                "c.json:4:1: handler 'static' speaks HTTP and cannot serve 'tcp://:80': listen on http://",
            ),
            (
                '"http://:80"',
                '{"handler": "forward", "listener": "http://:80", "forward_to": "tcp://x:1"}',
                "c.json:4:1: handler 'forward' cannot serve 'http://:80': listen on tcp://, or use handler 'proxy'",
            ),
            (
                '"unixgram:///tmp/a"',
                '{"handler": "dns", "listener": "unixgram:///tmp/a"}',
                "c.json:4:1: handler 'dns' cannot serve 'unixgram:///tmp/a': listen on udp, tcp, ssl or https",
            ),
            (
                '"udp://:53"',
                '{"handler": "dns", "listener": "udp://:53"}',
                "c.json:4:1: DNS on 'udp://:53' would answer everybody",
            ),
            ('"tcp://[::]:53"', '{"handler": "dns"}', "c.json:4:1: DNS on 'tcp://[::]:53' would answer everybody"),
            (
                '"unix:///tmp/a"',
                (
                    '{"handler": "forward", "listener": "unix:///tmp/a", "forward_to": "tcp://x:1"},\n'
                    '{"handler": "static", "listener": "unix:///tmp/a"}'
                ),
                "c.json:5:1: handler 'static' cannot share listener 'unix:///tmp/a' with handler 'forward' at c.json:4",
            ),
            (
                '"http://:80"',
                '{"handler": "forward", "forward_to": "tcp://x:1"}',
                "c.json:4:1: handler 'forward' needs \"listener\": no tcp or udp listener is without rules",
            ),
            (
                '"tcp://:1"',
                '{"handler": "forward", "listener": "tcp://:1", "forward_to": "tcp://x:1"},\n{"handler": "static"}',
                "c.json:5:1: warning: this rule is never used: no listener speaks HTTP",
            ),
        ],
    )
    def test_rules_that_cannot_work(self, listen: str, rule: str, problem: str) -> None:
        found = Assigned(config(listen, rule)).problems
        assert found
        assert found[0].startswith(problem), found

    def test_a_public_name_server_says_so(self) -> None:
        assert Assigned(config('"udp://:53"', '{"handler": "dns", "public": true}')).problems == []

    def test_a_listener_with_errors_is_not_called_unknown(self) -> None:
        assigned = Assigned(
            config('{"name": "web", "uri": "http://:99999"}', '{"handler": "respond", "listener": "web"}')
        )
        assert len(assigned.problems) == 1

    def test_a_stream_without_rules_has_nothing_to_do(self) -> None:
        report = Report(from_arguments([("tcp://:3307", [])]))
        assign_rules(report, compile_listeners(report))
        assert str(report.problems[0]).startswith("command line: nothing to do for 'tcp://:3307': add -to HOST:PORT")


class TestWithoutRules:
    """Listeners that no rule is for."""

    @staticmethod
    def only_rule(text: str) -> object:
        assigned = Assigned(text)
        assert assigned.problems == []
        ((_, rule),) = assigned.rules["http://:80"]
        return rule

    def test_a_welcome_page(self) -> None:
        rule = self.only_rule('{"listen": ["http://:80"]}')
        assert isinstance(rule, RespondRule)
        assert "npserver is running" in rule.body
        assert "$" not in rule.body

    def test_public_before_html(self, tmp_path: Path) -> None:
        (tmp_path / "html").mkdir()
        assert self.only_rule('{"listen": ["http://:80"]}') == StaticRule(root="./html")
        (tmp_path / "public").mkdir()
        assert self.only_rule('{"listen": ["http://:80"]}') == StaticRule(root="./public")

    def test_root_before_all(self, tmp_path: Path) -> None:
        (tmp_path / "public").mkdir()
        (tmp_path / "site").mkdir()
        assert self.only_rule('{"listen": ["http://:80"], "root": "site"}') == StaticRule(root="site")

    def test_a_root_that_is_not_there(self) -> None:
        assert Assigned('{"listen": ["http://:80"], "root": "sit"}').problems == [
            "c.json:1:36: 'root': no directory 'sit'"
        ]


def test_what_speaks_http() -> None:
    assigned = Assigned(
        config(
            '"unix:///tmp/a",\n"unix:///tmp/b",\n"http://:80"',
            '{"handler": "forward", "listener": "unix:///tmp/b", "forward_to": "tcp://x:1"}',
        )
    )
    spoken = {one.key: speaks_http(one, assigned.rules[one.key]) for one in assigned.listeners.values()}
    assert spoken == {"unix:///tmp/a": True, "unix:///tmp/b": False, "http://:80": True}


def test_the_summary_says_what_each_listener_does() -> None:
    assigned = Assigned(
        config(
            '{"name": "web", "uri": "http://:80"},\n"tcp://:1",\n"udp://127.0.0.1:53",\n"unix:///tmp/a"',
            '{"handler": "static", "listener": "web", "root": "./public"},\n'
            '{"handler": "proxy", "listener": "web", "host": ["a", "b"], "path": "/x", "proxy_pass": "http://c"},\n'
            '{"handler": "redirect", "listener": "web", "path": "/r", "to": "/s"},\n'
            '{"handler": "status", "listener": "web"},\n'
            '{"handler": "forward", "listener": "tcp://:1", "forward_to": "tcp://c:1", "sni": "d", "from": "e"},\n'
            '{"handler": "dns", "listener": "udp://127.0.0.1:53"}',
        )
    )
    listeners: list[Listener] = list(assigned.listeners.values())
    assert summarise(listeners, assigned.rules) == (
        ("web http://:80", "/**  files from ./public"),
        ("web http://:80", "a/x, b/x  proxy to http://c"),
        ("web http://:80", "/r  redirect to /s"),
        ("web http://:80", "/status  status page"),
        ("tcp://:1", "forward to tcp://c:1 for d from e"),
        ("udp://127.0.0.1:53", "name server"),
        ("unix:///tmp/a", "/**  welcome page"),
    )
