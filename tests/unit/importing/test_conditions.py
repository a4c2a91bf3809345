"""`if` and `limit_except` as conditions of rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.stage.imported import imported, rules


@pytest.mark.parametrize(
    ("condition", "keys"),
    [
        ("$request_method = OPTIONS", {"match": {"method": "OPTIONS"}}),
        ("$request_method !~ ^(GET|HEAD)$", {"not": {"method": ["GET", "HEAD"]}}),
        ("$http_x_canary", {"match": {"header": {"x-canary": True}}}),
        ('$http_x_canary = ""', {"match": {"header": {"x-canary": False}}}),
        ("$http_user_agent ~ ^Dav", {"match": {"header": {"user-agent": "Dav*"}}}),
        ("$http_user_agent ~ (bot|crawl)", {"match": {"header": {"user-agent": ["*bot*", "*crawl*"]}}}),
        ("$arg_debug = 1", {"match": {"query": {"debug": "1"}}}),
        ("$cookie_beta", {"match": {"cookie": {"beta": True}}}),
        ("$scheme = http", {"match": {"protocol": "http"}}),
        ("$remote_addr = 10.0.0.1", {"from": "10.0.0.1"}),
        ("$remote_addr != 10.0.0.1", {"not": {"from": "10.0.0.1"}}),
        (r"$uri ~ \.php$", {"path_regex": r".*\.php"}),
        ("$request_uri ~ ^/a/", {"path_regex": "/a/.*"}),
    ],
)
def test_a_condition_is_a_rule_before_the_other(condition: str, keys: dict[str, Any], tmp_path: Path) -> None:
    found = rules(tmp_path, f"location / {{ if ({condition}) {{ return 204; }} return 200; }}")
    assert found == [{**keys, "handler": "respond", "status": 204}, {"handler": "respond", "status": 200}]


@pytest.mark.parametrize(
    "condition",
    [
        "$http_user_agent ~* bot",
        "$http_referer ~ ^https?://",
        "$host ~ x",
        "!-f $request_filename",
        r"$request_uri ~ \?x",
        "$uri !~ ^/a",
        "$http_x = $host",
    ],
)
def test_a_condition_without_counterpart_is_lost(condition: str, tmp_path: Path) -> None:
    config = imported(tmp_path, f"server {{ location / {{ if ({condition}) {{ return 204; }} return 200; }} }}")
    assert [rule["status"] for rule in config["dispatch"]] == [200]
    assert len(config["losses"]) == 1


def test_the_rule_has_what_the_location_says(tmp_path: Path) -> None:
    found = rules(
        tmp_path,
        "location / { proxy_pass http://a; add_header X-A b; expires 1h; "
        "if ($request_method = GET) { add_header X-A c; } }",
    )
    assert [rule["response_headers"] for rule in found] == [
        {"Cache-Control": "max-age=3600", "X-A": "c"},
        {"Cache-Control": "max-age=3600", "X-A": "b"},
    ]
    assert {rule["proxy_pass"] for rule in found} == {"http://a"}


def test_methods_are_excepted(tmp_path: Path) -> None:
    found = rules(
        tmp_path,
        "location / { proxy_pass http://a; limit_except GET { deny all; } }"
        "location /b/ { proxy_pass http://a; limit_except GET POST { allow 10.0.0.0/8; deny all; } }",
    )
    assert [(rule.get("not"), rule.get("allow"), rule.get("status")) for rule in found] == [
        ({"method": ["GET", "HEAD"]}, None, 403),
        (None, None, None),
        ({"method": ["GET", "POST", "HEAD"]}, ["10.0.0.0/8"], None),
        (None, None, None),
    ]


def test_a_rewrite_in_a_condition_redirects(tmp_path: Path) -> None:
    found = rules(tmp_path, "location / { if ($http_x) { rewrite ^ https://b$request_uri? permanent; } return 200; }")
    assert found[0]["to"] == "https://b$request_uri"
