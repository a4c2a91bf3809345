"""Rules assigned to listeners, and the messages about rules that cannot work."""

from __future__ import annotations

from pathlib import Path

import pytest

from npserver.cli.overrides import from_arguments
from npserver.config.shape import section_keys
from npserver.forward.config import ForwardRule
from npserver.listen.compile import compile_listeners
from npserver.nameserver.config import DnsRule
from npserver.program.assignment import assign_rules, speaks_http
from npserver.runtime.compilation import Compilation
from npserver.web.config import Rule
from tests.stage.assigned import Assigned, config
from tests.stage.worker import make_context


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


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

    @pytest.mark.parametrize(
        ("rule", "section"),
        [('{"handler": "forward", "forward_to": "tcp://x:1"}', ForwardRule), ('{"handler": "dns"}', DnsRule)],
    )
    def test_the_reference_says_which_listeners_a_rule_takes_by_default(self, rule: str, section: type[Rule]) -> None:
        uris = [
            "http://127.0.0.1:1", "tcp://127.0.0.1:2", "udp://127.0.0.1:3", "quic://127.0.0.1:4", "unix:///tmp/a",
            "unixgram:///tmp/b",
        ]  # fmt: skip
        assigned = Assigned(config(",\n".join(f'"{uri}"' for uri in uris), rule))
        taken = [uri.partition(":")[0] for uri in uris if assigned.indices.get(uri) == [0]]
        named = ", ".join(taken[:-1]) + f" and {taken[-1]}"
        meaning = section_keys(section)["listener"].description
        assert meaning.endswith(f"default: the {named} listeners that no rule names")

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
                "c.json:4:1: handler 'dns' cannot serve 'unixgram:///tmp/a': listen on udp, tcp, ssl, quic or https",
            ),
            (
                '"udp://:53"',
                '{"handler": "dns", "listener": "udp://:53"}',
                "c.json:4:1: DNS on 'udp://:53' would answer everybody",
            ),
            ('"tcp://[::]:53"', '{"handler": "dns"}', "c.json:4:1: DNS on 'tcp://[::]:53' would answer everybody"),
            ('"quic://:853"', '{"handler": "dns"}', "c.json:4:1: DNS on 'quic://:853' would answer everybody"),
            (
                '"quic://127.0.0.1:853"',
                "",
                "c.json:2:1: nothing to do for 'quic://127.0.0.1:853': it serves DNS over QUIC, add a rule",
            ),
            (
                '"quic://127.0.0.1:853"',
                '{"handler": "forward", "listener": "quic://127.0.0.1:853", "forward_to": "udp://x:1"}',
                "c.json:4:1: handler 'forward' cannot serve 'quic://127.0.0.1:853'",
            ),
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
    def test_rules_that_cannot_work_are_named(self, listen: str, rule: str, problem: str) -> None:
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
        compilation = Compilation(from_arguments([("tcp://:3307", [])]), make_context())
        report = compilation.report
        assign_rules(report, compile_listeners(compilation))
        assert str(report.problems[0]).startswith("command line: nothing to do for 'tcp://:3307': add -to HOST:PORT")


def test_a_unix_listener_without_forward_speaks_http() -> None:
    assigned = Assigned(
        config(
            '"unix:///tmp/a",\n"unix:///tmp/b",\n"http://:80"',
            '{"handler": "forward", "listener": "unix:///tmp/b", "forward_to": "tcp://x:1"}',
        )
    )
    spoken = {one.key: speaks_http(one, assigned.rules[one.key]) for one in assigned.listeners.values()}
    assert spoken == {"unix:///tmp/a": True, "unix:///tmp/b": False, "http://:80": True}
