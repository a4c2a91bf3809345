"""Files, scripts and what to fall back to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stage.imported import imported, rules

PHP = r"location ~ \.php$ { fastcgi_pass a:1; }"


@pytest.mark.parametrize(
    ("server", "root", "fallback"),
    [
        ("root /w; location / { try_files $uri $uri/ /index.php?$args; }", "/w", "index.php"),
        (
            "root /w; location / { if (!-e $request_filename) { rewrite ^(.*)$ /index.php?q=$1 last; } }",
            "/w",
            "index.php",
        ),
        ("root /w; location / { }", "/w", None),
    ],
)
def test_scripts(server: str, root: str, fallback: str | None, tmp_path: Path) -> None:
    _, rule = rules(tmp_path, f"index index.php; {server} {PHP}")
    assert (rule["handler"], rule["root"], rule["fallback"]) == ("fastcgi", root, fallback)


def test_what_is_fallen_back_to_is_looked_up_as_a_location(tmp_path: Path) -> None:
    server = "location / { alias /w/; try_files $uri $uri/ /app/index.html; } location /app/ { alias /w/; }"
    assert [rule.get("fallback") for rule in rules(tmp_path, server)] == ["index.html", None]


def test_a_script_that_nothing_runs_is_answered_with_501(tmp_path: Path) -> None:
    config = imported(tmp_path, "server { root /w; location / { try_files $uri $uri/ /index.php; } }")
    assert config["dispatch"][0]["status"] == 501


def test_one_file_for_an_expression(tmp_path: Path) -> None:
    rule = rules(tmp_path, "location ~ ^/[^/]+/config.js$ { alias /w/config.js; }")[0]
    assert (rule["root"], rule["try_files"]) == ("/w", ["/config.js", "=404"])


def test_the_fallback_of_an_alias_outside_is_said(tmp_path: Path) -> None:
    config = imported(tmp_path, "server { root /w; location /a/ { alias /x/; try_files $uri $uri/ /index.html; } }")
    assert [rule.get("status") for rule in config["dispatch"]] == [501, None]


@pytest.mark.parametrize(
    ("directives", "root", "losses"),
    [
        ("try_files $uri @app;", "/w", 0),
        ("try_files $uri $uri/ @app;", "/w", 0),
        ("try_files $uri/index.html $uri @app;", "/w", 1),
        ("try_files /x/$uri @app;", None, 1),
        ("try_files /dev/null @app;", None, 0),
        ("if (!-f $request_filename) { proxy_pass http://a; break; }", "/w", 0),
    ],
)
def test_files_come_before_the_application(directives: str, root: str | None, losses: int, tmp_path: Path) -> None:
    server = f"root /w; location / {{ {directives} }} location @app {{ proxy_pass http://a; }}"
    config = imported(tmp_path, f"server {{ {server} }}")
    (rule,) = config["dispatch"]
    assert (rule["proxy_pass"], rule.get("root"), len(config["losses"])) == ("http://a", root, losses)
