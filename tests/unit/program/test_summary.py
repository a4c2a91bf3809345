"""The table that says at the start what each listener does."""

from __future__ import annotations

from npserver.config.load import load_text
from npserver.listen.listener import Listener
from npserver.process.dry_run import dry_run
from npserver.program.summary import summarise
from npserver.runtime.scoreboard import Directory
from tests.stage.assigned import Assigned, config


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


def test_the_summary_tells_of_names_and_conditions() -> None:
    assigned = Assigned(
        config(
            '{"name": "web", "uri": "http://:80"}',
            '{"handler": "redirect", "to": "/s", "name": "old", "match": {"query": {"a": true}, "method": "GET"}},\n'
            '{"handler": "redirect", "to": "/t", "from": "10.0.0.0/8", "not": {"method": "GET"}, "path_regex": "/a"}',
        )
    )
    assert [what for _, what in summarise(assigned.listeners.values(), assigned.rules)] == [
        "old: /** if method, query  redirect to /s",
        "/** if from, not, path_regex  redirect to /t",
    ]


def test_the_summary_names_the_zones_and_says_which_are_derived() -> None:
    text = (
        '{"listen": [{"name": "u", "uri": "udp://127.0.0.1:53"}], "dispatch": [{"listener": "u", "handler": "dns"}],'
        '"dns_zones": ["example.org"], "dns": {"nas.smith.family": {"A": "10.0.0.1"}, "a.home": {"A": "10.0.0.2"},'
        '"mail.example.org": {"A": "10.0.0.3"}}, "dns_views": [{"from": "10.0.0.0/8", "dns": {"b.lan": {}}}]}'
    )
    runtime = dry_run(load_text(text, "file"), Directory())
    assert runtime.summary == (
        (
            "u udp://127.0.0.1:53",
            "name server of zones example.org; of zones derived from names: home, lan, smith.family",
        ),
    )


def test_a_summary_of_many_zones_is_short() -> None:
    records = ", ".join(f'"n{number:02}": {{"A": "10.0.0.1"}}' for number in range(30))
    text = (
        '{"listen": ["udp://127.0.0.1:53"], "dispatch": [{"listener": "udp://127.0.0.1:53", "handler": "dns"}],'
        f'"dns": {{{records}}}}}'
    )
    ((_, what),) = dry_run(load_text(text, "file"), Directory()).summary
    assert what.endswith("n18, n19 and 10 more")
