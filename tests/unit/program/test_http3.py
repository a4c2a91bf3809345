"""Listeners with HTTP/3 get a second one, for UDP, with the same routes."""

from __future__ import annotations

import json
import sys

import pytest

from npserver.config.load import load_text
from npserver.errors import ConfigError
from npserver.listen.quic.endpoint import COUNTERS
from npserver.program.compile import compile_config
from npserver.web.server.http3.front import Http3Front
from tests.stage.worker import make_context

CONFIG = (
    '{"listen": ["http://:80", {"uri": "https://:443", "tls": "internal"%s}], "dispatch": [{"handler": "respond"}]}'
)


def test_a_listener_with_http3_has_two_sockets() -> None:
    context = make_context()
    runtime = compile_config(load_text(CONFIG % ', "http3": true', "c.json"), context)
    _, secure, quic = runtime.listeners
    assert (quic.key, str(quic.address), quic.port_of) == ("https://:443 over QUIC", "quic://:443", secure.key)
    assert quic.server_tls is secure.server_tls
    assert set(COUNTERS) <= context.row.board.directory.names.keys()  # before the fork: the same slots in all processes
    front = runtime.fronts[quic.key]
    assert isinstance(front, Http3Front)
    assert front.http is runtime.fronts[secure.key]
    assert runtime.summary[-1] == ("quic://:443", "HTTP/3, with the same rules")
    runtime.close()


def test_without_its_library_that_is_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "qh3", None)  # as if it was not installed
    with pytest.raises(ConfigError) as told:
        compile_config(load_text(CONFIG % ', "http3": true', "c.json"), make_context())
    (line,) = str(told.value).splitlines()
    assert "'http3' needs the package qh3: " in line


def test_others_have_one() -> None:
    runtime = compile_config(load_text(CONFIG % "", "c.json"), make_context())
    assert [str(one.address) for one in runtime.listeners] == ["http://:80", "https://:443"]
    runtime.close()


@pytest.mark.parametrize(("idle", "expected"), [("1s", 30.0), ("2m", 120.0), (0, 3600.0)])
def test_clients_that_vanish_are_given_up(idle: object, expected: float) -> None:
    text = (CONFIG % ', "http3": true').replace('"dispatch"', f'"timeouts": {{"idle": {json.dumps(idle)}}}, "dispatch"')
    runtime = compile_config(load_text(text, "c.json"), make_context())
    front = runtime.fronts["https://:443 over QUIC"]
    assert isinstance(front, Http3Front)
    assert front.idle_s == expected
    runtime.close()
