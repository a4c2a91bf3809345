"""Listeners without `tls`: which ones get certificates of the local authority by themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stage.assigned import Assigned


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def compiled(uri: str, host: str, tls: str = "") -> Assigned:
    hosts = f'"host": {host}, ' if host else ""
    rule = f'{{"handler": "respond", {hosts}"body": "x"}}'
    return Assigned(f'{{"store": "store", {tls} "listen": ["{uri}"], "dispatch": [{rule}]}}')


@pytest.mark.parametrize(
    ("uri", "host", "names"),
    [
        ("https://:443", '["nas.home", "*.lan"]', ("nas.home", "*.lan")),
        ("https://:443", '"LOCALHOST"', ("localhost",)),
        ("https://192.168.1.5:443", '"192.168.1.5"', ("192.168.1.5",)),
        ("https://[::1]:443", '["[::1]", "nas.home"]', ("nas.home",)),
    ],
)
def test_local_hosts(uri: str, host: str, names: tuple[str, ...]) -> None:
    found = compiled(uri, host)
    assert found.problems == []
    tls = found.listeners[0].server_tls
    assert tls is not None
    assert tls.default.certificate.names == names
    assert tls.offers_http2


@pytest.mark.parametrize("uri", ["https://127.0.0.1:443", "https://localhost:443", "https://10.0.0.1:443"])
def test_a_local_address(uri: str) -> None:
    tls = compiled(uri, "").listeners[0].server_tls
    assert tls is not None
    assert {"localhost", "127.0.0.1"} <= set(tls.default.certificate.names)


@pytest.mark.parametrize(
    ("uri", "host", "reason"),
    [
        (
            "https://:443",
            "",
            "not all rules have a host, and the listener's address is not a local one",
        ),
        ("https://:443", '["nas.home", "example.com"]', "'example.com' is not a local name"),
        ("https://127.0.0.1:443", '"example.com"', "'example.com' is not a local name"),
        ("https://192.0.2.1:443", "", "not all rules have a host"),
        ("https://0.0.0.0:443", "", "not all rules have a host"),
    ],
)
def test_others_need_a_certificate(uri: str, host: str, reason: str) -> None:
    (problem,) = compiled(uri, host).problems
    assert f"'{uri}' needs a certificate: add \"tls\"" in problem
    assert 'or add "tls": "internal", for a certificate of the local authority' in problem
    assert reason in problem


def test_internal_is_for_any_host() -> None:
    found = compiled("https://:443", '"example.com"', '"tls": "internal",')
    tls = found.listeners[0].server_tls
    assert tls is not None
    assert tls.default.certificate.names == ("example.com",)
    assert found.problems == []


def test_each_listener_has_the_names_of_its_own_rules() -> None:
    found = Assigned(
        '{"store": "store", "tls": "internal", "listen": ["https://:1", "https://:2", "ssl://:3"], "dispatch": ['
        '{"handler": "respond", "listener": "https://:1", "host": "a.home", "body": "x"},'
        '{"handler": "respond", "listener": "https://:2", "host": "b.home", "body": "x"},'
        '{"handler": "forward", "listener": "ssl://:3", "sni": ["c.home"], "forward_to": "tcp://127.0.0.1:9"}]}'
    )
    names = [one.server_tls.default.certificate.names for one in found.listeners.values() if one.server_tls]
    assert names == [("a.home",), ("b.home",), ("c.home",)]
    assert found.problems == []
