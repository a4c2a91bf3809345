"""`proxy_cache` as `cache`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stage.imported import imported

PATH = "proxy_cache_path /x keys_zone=z:1m inactive=1h;"


@pytest.mark.parametrize(
    ("directives", "cache"),
    [
        ("proxy_cache z;", True),
        ("proxy_cache off;", None),
        ("proxy_cache z; proxy_cache_valid 404 1m; proxy_cache_valid 200 301 10m;", {"default_ttl": 600}),
        ("proxy_cache z; proxy_cache_valid 5m;", {"default_ttl": 300}),
        ("proxy_cache z; proxy_cache_use_stale error timeout;", {"stale_on_error": 3600}),
        (
            "proxy_cache z; proxy_cache_use_stale updating; proxy_cache_background_update on;",
            {"stale": 3600},
        ),
        ("proxy_cache z; proxy_cache_key $scheme$proxy_host$request_uri;", {"key": "$scheme$request_uri"}),
    ],
)
def test_keys(directives: str, cache: object, tmp_path: Path) -> None:
    config = imported(tmp_path, f"http {{ {PATH} server {{ location / {{ proxy_pass http://a; {directives} }} }} }}")
    assert config["dispatch"][0].get("cache") == cache
    assert config["losses"] == []


def test_what_is_not_known_is_lost(tmp_path: Path) -> None:
    directives = "proxy_cache z; proxy_no_cache $cookie_x; proxy_cache_key $none;"
    config = imported(tmp_path, f"http {{ {PATH} server {{ location / {{ proxy_pass http://a; {directives} }} }} }}")
    assert len(config["losses"]) == 1
