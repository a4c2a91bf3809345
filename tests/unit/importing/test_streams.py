"""`stream` blocks."""

from __future__ import annotations

from pathlib import Path

from tests.stage.imported import imported


def test_a_forward_keeps_its_networks_and_times(tmp_path: Path) -> None:
    server = "listen 3306; proxy_pass db:3306; allow 10.0.0.0/8; deny all; proxy_timeout 1h; proxy_protocol on;"
    assert imported(tmp_path, f"stream {{ server {{ {server} }} }}")["dispatch"] == [
        {
            "listener": "tcp://0.0.0.0:3306",
            "handler": "forward",
            "forward_to": "tcp://db:3306",
            "timeout": 3600,
            "send_proxy": "v1",
            "allow": ["10.0.0.0/8"],
        }
    ]


def test_server_names_choose_a_target(tmp_path: Path) -> None:
    text = (
        "stream { map $ssl_preread_server_name $to { a.example b:1; default c:2; }"
        "server { listen 443; ssl_preread on; proxy_pass $to; } server { listen 53 udp; proxy_pass d:53; } }"
    )
    found = imported(tmp_path, text)["dispatch"]
    assert [(rule.get("sni"), rule["forward_to"]) for rule in found] == [
        ("a.example", "tcp://b:1"),
        (None, "tcp://c:2"),
        (None, "udp://d:53"),
    ]


def test_a_listener_for_which_nothing_is_to_be_done_is_left_out(tmp_path: Path) -> None:
    text = "stream { server { listen 1; proxy_pass $x:2; } server { listen 3; proxy_pass a:4; } }"
    config = imported(tmp_path, text)
    assert config["listen"] == ["tcp://0.0.0.0:3"]
    assert len(config["losses"]) == 1
