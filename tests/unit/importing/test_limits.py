"""Limits of requests and of bandwidth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.stage.imported import imported

ZONES = (
    "limit_req_zone $binary_remote_addr zone=a:10m rate=10r/s; limit_req_zone $http_x_key zone=k:1m rate=5r/m;"
    "limit_conn_zone $binary_remote_addr zone=c:1m; limit_conn_zone $server_name zone=s:1m;"
)


@pytest.mark.parametrize(
    ("directives", "keys", "limits"),
    [
        ("limit_req zone=a;", {"rate_limit": "a"}, {"a": {"rate": "10/s", "burst": 1, "status": 503}}),
        (
            "limit_req zone=a burst=20 nodelay; limit_req_status 429;",
            {"rate_limit": "a"},
            {"a": {"rate": "10/s", "burst": 21}},
        ),
        (
            "limit_req zone=k;",
            {"rate_limit": "k"},
            {"k": {"rate": "5/m", "burst": 1, "key": "${header.x-key}", "status": 503}},
        ),
        ("limit_conn c 5; limit_conn s 100;", {"max_requests": {"per_client": 5, "all": 100}}, None),
        ("limit_rate 100k;", {"bandwidth": "100k"}, None),
        ("limit_rate 100k; limit_rate_after 1m;", {"bandwidth": {"per_answer": "100k", "after": "1m"}}, None),
    ],
)
def test_keys(directives: str, keys: dict[str, Any], limits: object, tmp_path: Path) -> None:
    config = imported(tmp_path, f"http {{ {ZONES} server {{ root /w; {directives} }} }}")
    assert config["dispatch"] == [{"handler": "static", "root": "/w", "index": "index.html", **keys}]
    assert config.get("rate_limits") == limits
    assert config["losses"] == []


def test_a_zone_with_two_bursts_is_two_limits(tmp_path: Path) -> None:
    servers = "location / { limit_req zone=a; } location /b/ { limit_req zone=a burst=5 nodelay; }"
    config = imported(tmp_path, f"http {{ {ZONES} server {{ root /w; {servers} }} }}")
    assert [rule["rate_limit"] for rule in config["dispatch"]] == ["a", "a-"]


@pytest.mark.parametrize("directive", ["limit_req zone=none;", "limit_conn none 5;", "limit_rate $x;"])
def test_what_is_not_known_is_lost(directive: str, tmp_path: Path) -> None:
    config = imported(tmp_path, f"http {{ {ZONES} server {{ root /w; {directive} }} }}")
    assert len(config["losses"]) == 1
