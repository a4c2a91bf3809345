"""Listeners of the config: what can be listened on, and what is in the way of another.

Covers `listen.listener`.
"""

from __future__ import annotations

import shlex
import sys
import tomllib
from pathlib import Path

import pytest

from npserver.config.load import load_text
from npserver.listen.compile import QUIC_REQUIREMENT, compile_listeners
from npserver.runtime.compilation import Compilation
from tests.stage.assigned import Assigned, config
from tests.stage.program import ROOT
from tests.stage.worker import make_context


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class TestListeners:
    def test_a_listener_has_all_that_the_config_says(self) -> None:
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
            (
                '{"uri": "ssl://:853", "tls": "internal", "http2": true}',
                "c.json:2:51: 'http2' has no effect on 'ssl://:853'; use http://",
            ),
            (
                '{"uri": "https://:443", "http2": true, "tls": "internal"}',
                "c.json:2:34: 'http2' has no effect on 'https://:443', which offers HTTP/2 by itself",
            ),
            (
                '{"uri": "http://:80", "http3": true}',
                "c.json:2:32: 'http3' is for https listeners, not for 'http://:80'",
            ),
            (
                '{"uri": "unix:///tmp/a", "http3": true}',
                "c.json:2:35: 'http3' is for https listeners, not for 'unix:///tmp/a'",
            ),
            (
                '{"uri": "https://:443", "http3": true, "tls": "internal", "accept_proxy": "10.0.0.0/8"}',
                "c.json:2:34: 'http3' with 'accept_proxy': the PROXY protocol is not defined for HTTP/3",
            ),
            (
                '{"uri": "https://:443", "http3": true, "tls": "internal"}, "udp://:443"',
                "c.json:2:60: port 443 bound twice: 'udp://:443' overlaps 'https://:443'",
            ),
            ('"https://:443"', "c.json:2:1: 'https://:443' needs a certificate: add \"tls\""),
            ('{"uri": "http://:80", "accept_proxy": "lan"}', "c.json:2:39: unknown network 'lan'"),
        ],
    )
    def test_what_cannot_be_listened_on(self, listen: str, problem: str) -> None:
        found = Assigned(config(listen, "")).problems
        assert len(found) == 1, found
        assert found[0].startswith(problem) or problem in found[0]

    def test_http3_needs_its_library(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("npserver.listen.compile.find_spec", lambda name: None)
        monkeypatch.setattr("npserver.listen.certificates.find_spec", lambda name: None)
        (problem,) = Assigned(config('{"uri": "https://:443", "http3": true, "tls": "internal"}', "")).problems
        python = shlex.quote(sys.executable)
        assert problem == f"c.json:2:34: 'http3' needs the package qh3: {python} -m pip install '{QUIC_REQUIREMENT}'"
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        assert project["optional-dependencies"]["http3"] == [QUIC_REQUIREMENT]

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
        compilation = Compilation(load_text(f'{{"listen": ["{one}", "{other}"]}}', "c.json"), make_context())
        compile_listeners(compilation)
        assert compilation.report.problems == []
