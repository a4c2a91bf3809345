"""`upstream` blocks."""

from __future__ import annotations

from pathlib import Path

from tests.stage.imported import imported


def test_targets_and_balancing(tmp_path: Path) -> None:
    servers = "server 10.0.0.1 weight=3; server 10.0.0.2:81 backup; server 10.0.0.3 down max_conns=5; server unix:/s;"
    text = f"upstream a {{ least_conn; keepalive 8; {servers} }} server {{ location / {{ proxy_pass http://a; }} }}"
    assert imported(tmp_path, text)["upstreams"] == {
        "a": {
            "targets": [
                {"uri": "http://10.0.0.1:80", "weight": 3},
                {"uri": "http://10.0.0.2:81", "backup": True},
                {"uri": "http://10.0.0.3:80", "weight": 0, "max_connections": 5},
                "unix:///s",
            ],
            "balance": "least-conn",
            "keepalive_pool_size": 8,
            "retry_timeout_seconds": 10,
        }
    }


def test_an_upstream_for_two_schemes_becomes_two(tmp_path: Path) -> None:
    locations = "location / { proxy_pass http://a; } location /s/ { proxy_pass https://a; }"
    text = f"upstream a {{ server b:1; }} server {{ {locations} }}"
    found = imported(tmp_path, text)["upstreams"]
    assert [found[name]["targets"] for name in ("a", "a-https")] == [["http://b:1"], ["https://b:1"]]


def test_no_rule_names_an_upstream_without_targets(tmp_path: Path) -> None:
    locations = "location /a/ { proxy_pass http://a; } location /b/ { proxy_pass http://a; }"
    found = imported(tmp_path, f"upstream a {{ server unix:bad; }} server {{ {locations} }}")
    assert "upstreams" not in found
    assert {rule["path"]: rule.get("status") for rule in found["dispatch"][1:]} == {"/a/**": 501, "/b/**": 501}
