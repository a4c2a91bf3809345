"""`listen` and certificates."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stage.imported import imported


@pytest.mark.parametrize(
    ("server", "listen"),
    [
        ("listen 80;", ["http://0.0.0.0:80"]),
        ("listen 80; listen [::]:80;", ["http://:80"]),
        ("listen [::1]:81;", ["http://[::1]:81"]),
        ("", ["http://0.0.0.0:80"]),
        ("listen unix:/run/x.sock;", ["unix:///run/x.sock"]),
        ("listen 8080 http2;", [{"uri": "http://0.0.0.0:8080", "http2": True}]),
        ("listen 443 ssl; listen 443 quic reuseport;", [{"uri": "https://0.0.0.0:443", "http3": True}]),
        ("listen 99999; listen 80;", ["http://0.0.0.0:80"]),
    ],
)
def test_addresses(server: str, listen: list[object], tmp_path: Path) -> None:
    assert imported(tmp_path, f"server {{ {server} return 200; }}")["listen"] == listen


def test_a_server_that_is_the_default_of_one_listener_only(tmp_path: Path) -> None:
    text = (
        "server { listen 80; listen 81; server_name a.example; return 200; }"
        "server { listen 81 default_server; return 201; }"
    )
    rules = imported(tmp_path, text)["dispatch"]
    assert [(rule["listener"], rule.get("host"), rule["status"]) for rule in rules] == [
        ("http://0.0.0.0:80", None, 200),
        ("http://0.0.0.0:81", "a.example", 200),
        ("http://0.0.0.0:81", None, 201),
    ]


def test_tls_by_a_directive_of_its_own(tmp_path: Path) -> None:
    config = imported(tmp_path, "server { listen 443; ssl on; ssl_certificate c; ssl_certificate_key k; return 200; }")
    assert config["listen"] == ["https://0.0.0.0:443"]


def test_listeners_with_other_certificates_have_their_own(tmp_path: Path) -> None:
    text = (
        "server { listen 1 ssl; server_name a; ssl_certificate c; ssl_certificate_key k; return 200; }"
        "server { listen 2 ssl; server_name b; ssl_certificate d; ssl_certificate_key l; return 200; }"
    )
    config = imported(tmp_path, text)
    assert "tls" not in config
    assert [one["tls"] for one in config["listen"]] == [{"cert": "c", "key": "k"}, {"cert": "d", "key": "l"}]
