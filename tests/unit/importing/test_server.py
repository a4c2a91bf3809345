"""`server` blocks and the order of their locations."""

from __future__ import annotations

from pathlib import Path

from tests.stage.imported import imported, rules


def test_regular_expressions_come_before_each_prefix_that_lets_them(tmp_path: Path) -> None:
    found = rules(
        tmp_path,
        r"location / { return 200; } location /a/ { return 201; } location ^~ /b/ { return 202; } "
        r"location ~ \.x$ { return 203; } location ~ ^/c/ { return 204; } location = /e { return 205; }",
    )
    assert [(rule.get("path"), rule.get("path_regex"), rule["status"]) for rule in found] == [
        (None, r".*\.x", 203),
        (None, "/c/.*", 204),
        (None, None, 200),
        ("/a/**", r".*\.x", 203),
        ("/a/**", None, 201),
        ("/b/**", None, 202),
        ("/e", None, 205),
    ]


def test_the_condition_that_certbot_writes(tmp_path: Path) -> None:
    found = rules(tmp_path, "if ($host = a.example) { return 301 https://$host$request_uri; } return 404;")
    assert [(rule.get("host"), rule["status"]) for rule in found] == [("a.example", 301), (None, 404)]


def test_a_condition_without_counterpart_is_told(tmp_path: Path) -> None:
    (loss,) = imported(tmp_path, "server {\n if ($http_x) { return 403; } return 200; }")["losses"]
    assert ":2: 'if $http_x {...}': conditions are" in loss


def test_redirects_by_rewrite(tmp_path: Path) -> None:
    found = rules(tmp_path, "rewrite ^/old$ /new permanent; rewrite ^/(.*)$ https://x.example/$1 redirect;")
    assert [(rule.get("path"), rule["to"], rule["status"]) for rule in found] == [
        ("/old", "/new", 301),
        (None, "https://x.example$request_uri", 302),
    ]


def test_names(tmp_path: Path) -> None:
    text = "server { return 200; } server { server_name .a.example *.b.example; return 201; }"
    assert imported(tmp_path, text)["dispatch"][1]["host"] == ["a.example", "*.a.example", "*.b.example"]
