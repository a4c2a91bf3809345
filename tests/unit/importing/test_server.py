"""`server` blocks and the order of their locations."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stage.imported import imported, rules


def ways(directory: Path, server: str) -> list[tuple[str | None, str | None, object]]:
    """Path, regular expression and status, root or target of each rule."""
    found = rules(directory, server)
    return [
        (one.get("path"), one.get("path_regex"), one.get("status") or one.get("proxy_pass") or one.get("root"))
        for one in found
    ]


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
    (loss,) = imported(tmp_path, "server {\n if ($invalid_referer) { return 403; } return 200; }")["losses"]
    assert ":2: 'if $invalid_referer {...}': a condition on $invalid_referer" in loss


def test_redirects_by_rewrite(tmp_path: Path) -> None:
    found = rules(tmp_path, "rewrite ^/old$ /new? permanent; rewrite ^/(.*)$ https://x.example/$1 redirect;")
    assert [(rule.get("path"), rule["to"], rule["status"]) for rule in found] == [
        ("/old", "/new", 301),
        (None, "https://x.example$request_uri", 302),
    ]


def test_names(tmp_path: Path) -> None:
    text = "server { return 200; } server { server_name .a.example *.b.example; return 201; }"
    assert imported(tmp_path, text)["dispatch"][1]["host"] == ["a.example", "*.a.example", "*.b.example"]


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        pytest.param(
            (
                r"location / { return 200; location ~ ^/x { return 204; } } "
                r"location /a/ { return 201; location ~ \.b$ { return 202; } }"
            ),
            [(None, "/x.*", 204), (None, None, 200), ("/a/**", r".*\.b", 202), ("/a/**", None, 201)],
            id="an expression inside a location counts there alone",
        ),
        pytest.param(
            (
                r"location / { return 200; } location ^~ /a/ { return 201; "
                r"location ~ \.b$ { return 202; } } location ~ \.c$ { return 203; }"
            ),
            [(None, r".*\.c", 203), (None, None, 200), ("/a/**", r".*\.b", 202), ("/a/**", None, 201)],
            id="and with ^~ no other does",
        ),
        pytest.param(
            r"location / { return 200; } location ~ ^/up/ { return 201; location ~ \.b$ { return 202; } }",
            [(None, r"/up/.*\.b", 202), (None, "/up/.*", 201), (None, None, 200)],
            id="an expression inside another",
        ),
        pytest.param(
            "location / { return 200; } location /admin { deny all; }",
            [(None, "/admin.*", 403), (None, None, 200)],
            id="a guard without a slash holds for longer names too",
        ),
        pytest.param(
            "root /w; location / { return 200; } location /favicon.ico { expires 1d; }",
            [(None, r"/favicon\.ico.*", "/w"), (None, None, 200)],
            id="a file is no directory",
        ),
        pytest.param(
            "location / { return 200; } location /a { return 201; } location /a/ { return 202; }",
            [(None, None, 200), ("/a/**", None, 202), ("/a", None, 201)],
            id="with and without a slash",
        ),
        pytest.param(
            r"location / { return 200; } location /s/ { return 201; location ~ ^/s/(?!p/). { deny all; } }",
            [(None, None, 200), ("/s/**", "/s/..*", 403), ("/s/**", None, 201), ("/s/p/**", None, 201)],
            id="an exception",
        ),
        pytest.param(
            (
                "root /w; location ^~ /m/ { try_files $uri /n.html; } location / { return 200; } "
                "location /m/x/ { return 201; }"
            ),
            [(None, "/m(?:/.*)?", "/w"), (None, None, 200), ("/m/x/**", None, 201)],
            id="a fallback outside the prefix",
        ),
        pytest.param(
            (
                r"root /w; location / { return 200; } location /m/ { try_files $uri /n.html; "
                r"location ~ \.b$ { return 201; } }"
            ),
            [(None, r"/m/.*\.b", 201), (None, "/m(?:/.*)?", "/w"), (None, None, 200)],
            id="with an expression inside",
        ),
        pytest.param(
            "location / { return 418; error_page 418 = @app; } location @app { proxy_pass http://a; }",
            [(None, None, "http://a")],
            id="a status that leads to a named location",
        ),
        pytest.param(
            r"location / { return 200; } location ~ ^/c/(.*)$ { alias /w/d/$1; }",
            [(None, None, 200), ("/c/**", "/c/(.*)", "/w/d"), ("/c/**", None, 200)],
            id="an alias with groups",
        ),
        pytest.param(
            "set $r /w; root $r/x; location /a/ { }",
            [(None, None, "/w/x"), ("/a/**", None, "/w/x/a")],
            id="a root of constants",
        ),
    ],
)
def test_locations(server: str, expected: list[object], tmp_path: Path) -> None:
    assert ways(tmp_path, server) == expected


def test_a_condition_of_a_server_comes_before_all_its_locations(tmp_path: Path) -> None:
    found = ways(
        tmp_path,
        "if ($request_method = TRACE) { return 405; } location /a/ { return 201; } location = /b { return 202; }",
    )
    assert found == [
        (None, None, 405),
        (None, None, "html"),
        ("/a/**", None, 405),
        ("/a/**", None, 201),
        ("/b", None, 405),
        ("/b", None, 202),
    ]


def test_php_is_not_run_where_regular_expressions_do_not_count(tmp_path: Path) -> None:
    server = r"root /w; index index.php; location / { } location ^~ /up/ { } location ~ \.php$ { fastcgi_pass a:1; }"
    by_path = {rule.get("path"): rule["handler"] for rule in rules(tmp_path, server)}
    assert by_path == {None: "fastcgi", "/up/**": "static"}


def test_other_names_than_the_one_that_is_wanted(tmp_path: Path) -> None:
    text = (
        "server { server_name a.x b.x; if ($host != a.x) { return 301 /; } return 200; }"
        "server { server_name c.x; return 201; }"
    )
    found = imported(tmp_path, f"server {{ return 202; }} {text}")["dispatch"]
    assert [(rule.get("host"), rule["status"]) for rule in found] == [
        (None, 202),
        ("b.x", 301),
        ("a.x", 200),
        ("c.x", 201),
    ]


def test_guards_hold_for_slashes_that_are_encoded(tmp_path: Path) -> None:
    server = "location / { proxy_pass http://a; } location /b/ { deny all; } location ~ ^/c/d { deny all; }"
    found = [rule.get("path_regex") for rule in rules(tmp_path, server) if rule.get("status") == 403]
    assert found == ["/b%2F.*", "/c(?:/|%2F)d.*", None]
    assert len(rules(tmp_path, server.replace("proxy_pass http://a;", ""))) == 3
