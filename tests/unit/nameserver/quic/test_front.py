"""Listeners of DNS over QUIC: the config of one, what it cannot have, and that nothing of it is loaded without one."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trustme

from npserver.config.load import load_text
from npserver.errors import ConfigError
from npserver.listen.compile import QUIC_REQUIREMENT
from npserver.nameserver.quic.front import DnsOverQuic
from npserver.program.compile import compile_config
from npserver.runtime.compilation import Compilation
from npserver.tls.acme.reach import REACH
from tests.stage.assigned import Assigned
from tests.stage.worker import make_context

SOURCE = Path(__file__).parents[4] / "src"


def text(listen: dict[str, Any] | None = None, rule: dict[str, Any] | None = None, **more: Any) -> str:
    made = {
        "listen": [{"uri": "quic://127.0.0.1", "name": "doq", **(listen or {})}],
        "dns": {"nas.home": {"A": "192.0.2.10"}},
        "dispatch": [{"handler": "dns", "listener": "doq", **(rule or {})}],
        **more,
    }
    return json.dumps(made)


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_settings_of_a_listener() -> None:
    limits = {"max_streams": 7, "max_handshakes": 3, "max_connections": 11}
    runtime = compile_config(load_text(text(rule={"timeout": 20}, limits=limits), "c.json"), make_context())
    (listener,) = runtime.listeners
    assert (listener.key, listener.address.port) == ("quic://127.0.0.1:853", 853)
    assert listener.server_tls is not None  # of the local authority: its address is a local one
    front = runtime.fronts[listener.key]
    assert isinstance(front, DnsOverQuic)
    assert (front.protocols, front.max_streams, front.max_handshakes, front.idle_s) == (("doq",), 7, 3, 25.0)
    assert (front.transport, front.settings.max_connections) == ("doq", 11)
    assert runtime.summary == (("doq quic://127.0.0.1:853", "name server of zones derived from names: home"),)
    runtime.close()


def test_one_front_is_for_all_listeners_that_no_rule_names() -> None:
    found = Assigned('{"listen": ["udp://127.0.0.1", "quic://127.0.0.1"], "dispatch": [{"handler": "dns"}]}')
    assert found.problems == []
    assert found.indices == {"udp://127.0.0.1:53": [0], "quic://127.0.0.1:853": [0]}


@pytest.mark.parametrize(
    ("listen", "problem"),
    [
        ({"accept_proxy": "10.0.0.0/8"}, "the PROXY protocol is not defined for QUIC"),
        ({"http3": True}, "'http3' is for https listeners, not for 'quic://127.0.0.1'"),
        (
            {"uri": "ssl://127.0.0.1", "http3": True, "tls": "internal"},
            "'http3' is for https listeners, not for 'ssl://127.0.0.1'",
        ),
        ({"http2": True}, "'http2' has no effect on 'quic://127.0.0.1'"),
        ({"mode": "600"}, "'mode' is for Unix sockets"),
        ({"uri": "quic://:853"}, "DNS on 'quic://:853' would answer everybody"),
        ({"uri": "doq://127.0.0.1"}, "unknown scheme 'doq' in 'doq://127.0.0.1'; did you mean 'quic://'?"),
    ],
)
def test_what_a_listener_cannot_have(listen: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as told:
        compile_config(load_text(text(listen), "c.json"), make_context())
    assert problem in str(told.value)


def test_client_certificates_and_other_keys(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(tmp_path / "a.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls: dict[str, Any] = {"cert": "a.pem", "key": "a.pem", "client_ca": "ca.pem"}
    with pytest.raises(ConfigError, match=r"client certificates cannot be asked for over QUIC, listen on ssl://"):
        compile_config(load_text(text({"tls": tls}), "c.json"), make_context())


@pytest.mark.parametrize(("uri", "expected"), [("quic://127.0.0.1:443", False), ("ssl://127.0.0.1:443", True)])
def test_a_ca_looks_for_challenges_over_tcp(uri: str, expected: bool) -> None:
    compilation = Compilation(load_text(text({"uri": uri}), "c.json"), make_context())
    assert REACH.of(compilation).has_tls is expected


def test_without_its_library_that_is_the_only_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "qh3", None)  # as if it was not installed
    with pytest.raises(ConfigError) as told:
        compile_config(load_text(text({"tls": "internal"}), "c.json"), make_context())
    (line,) = str(told.value).splitlines()
    assert "DNS over QUIC needs the package qh3: " in line
    assert line.endswith(f"-m pip install {shlex.quote(QUIC_REQUIREMENT)}")


@pytest.mark.parametrize(("uri", "is_loaded"), [("quic://127.0.0.1", True), ("ssl://127.0.0.1", False)])
def test_nothing_is_loaded_without_such_a_listener(uri: str, is_loaded: bool) -> None:
    """With one, all is loaded before the workers are forked."""
    code = (
        "import sys; from npserver.config.load import load_text; "
        "from npserver.program.compile import compile_config; from tests.stage.worker import make_context; "
        "compile_config(load_text(sys.argv[1], 'c.json'), make_context()); "
        "print(*[name for name in ('qh3', 'npserver.listen.quic.endpoint', 'npserver.nameserver.quic.connection') "
        "if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, text({"uri": uri})], capture_output=True, text=True, check=True, timeout=30,
        env={"PYTHONPATH": f"{SOURCE}:{SOURCE.parent}"},
    )  # fmt: skip
    assert len(done.stdout.split()) == (3 if is_loaded else 0)
