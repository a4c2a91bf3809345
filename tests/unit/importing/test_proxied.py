"""`proxy_pass` and the like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.stage.imported import imported, rules


@pytest.mark.parametrize(
    ("directives", "keys"),
    [
        ("proxy_pass http://a:1;", {"proxy_pass": "http://a:1"}),
        ("proxy_pass http://a:1/;", {"proxy_pass": "http://a:1", "strip_prefix": True}),
        ("proxy_pass http://a:1/v1/;", {"proxy_pass": "http://a:1/v1", "strip_prefix": True}),
        ("proxy_pass http://a:1/x/;", {"proxy_pass": "http://a:1"}),
        ("proxy_pass http://unix:/run/s:/;", {"proxy_pass": "unix:///run/s", "strip_prefix": True}),
        ("set $t a; proxy_pass http://$t:1;", {"proxy_pass": "http://a:1"}),
        ("proxy_pass https://a;", {"proxy_pass": "https://a", "tls": {"insecure": True}}),
        ("proxy_pass http://a; proxy_set_header Host $host;", {"proxy_pass": "http://a", "preserve_host": True}),
        (
            'proxy_pass http://a; proxy_set_header X-A "$scheme"; proxy_set_header Accept-Encoding "";',
            {"proxy_pass": "http://a", "headers": {"X-A": "$scheme", "Accept-Encoding": None}},
        ),
        (
            "proxy_pass http://a; proxy_read_timeout 5m;",
            {"proxy_pass": "http://a", "timeouts": {"response": 300, "read": 300}},
        ),
        ("grpc_pass grpc://a:1;", {"proxy_pass": "h2c://a:1"}),
    ],
)
def test_proxies(directives: str, keys: dict[str, Any], tmp_path: Path) -> None:
    _, rule = rules(tmp_path, f"location / {{ return 200; }} location /x/ {{ {directives} }}")
    assert rule == {"path": "/x/**", "handler": "proxy", **keys}


@pytest.mark.parametrize("target", ["http://$host:1", "http://a/x", "ftp://a", "http://a b"])
def test_a_target_that_is_not_known_is_answered_with_501(target: str, tmp_path: Path) -> None:
    _, rule = rules(tmp_path, f'location / {{ return 200; }} location /x/ {{ proxy_pass "{target}"; }}')
    assert rule["status"] == 501


def test_an_upstream_is_asked_by_its_name(tmp_path: Path) -> None:
    found = rules(tmp_path, "location / { proxy_pass http://app; }", "upstream app { server 127.0.0.1:1; }")
    assert found == [{"handler": "proxy", "proxy_pass": "upstream://app", "headers": {"Host": "app"}}]


@pytest.mark.parametrize("directive", ["proxy_method GET;", "proxy_pass_request_headers off;", "sub_filter a b;"])
def test_what_changes_requests_and_has_no_counterpart_is_said(directive: str, tmp_path: Path) -> None:
    config = imported(tmp_path, f"server {{ location / {{ proxy_pass http://a; {directive} }} }}")
    assert len(config["losses"]) == 1
