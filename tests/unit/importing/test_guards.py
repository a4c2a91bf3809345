"""`auth_request` as `forward_auth`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.stage.imported import imported, rules

ASK = (
    "location = /auth { internal; proxy_pass http://ask:1%s; "
    "proxy_set_header X-Original-URL $scheme://$host$request_uri; }"
)


@pytest.mark.parametrize(
    ("ask", "more", "keys"),
    [
        ("", "", {"path": "/auth", "preserve_host": False}),
        ("/verify?x=y", "", {"path": "/verify?x=y", "preserve_host": False}),
        ("; proxy_set_header Host $host", "", {"path": "/auth"}),
        (
            "",
            "auth_request_set $u $upstream_http_remote_user; proxy_set_header X-User $u;",
            {"path": "/auth", "preserve_host": False, "copy": {"X-User": "remote-user"}},
        ),
        ("", "error_page 401 = /login;", {"path": "/auth", "preserve_host": False, "sign_in": "/login"}),
        (
            "",
            "error_page 401 = /oauth2/sign_in;",
            {"path": "/auth", "preserve_host": False, "sign_in": "/oauth2/sign_in?rd=$url"},
        ),
        (
            "",
            "auth_request_set $to $scheme://$http_host$request_uri; error_page 401 = @login;",
            {"path": "/auth", "preserve_host": False, "sign_in": "https://sso/?rd=$url"},
        ),
    ],
)
def test_keys(ask: str, more: str, keys: dict[str, Any], tmp_path: Path) -> None:
    server = f"location / {{ proxy_pass http://a; auth_request /auth; {more} }} {ASK % ask}"
    server += "location @login { return 302 https://sso/?rd=$to; }"
    rule = rules(tmp_path, server)[0]
    assert rule["forward_auth"] == {"to": "http://ask:1", **keys}
    assert "headers" not in rule


def test_one_for_the_whole_server_is_switched_off_in_a_location(tmp_path: Path) -> None:
    server = (
        f"auth_request /auth; location / {{ proxy_pass http://a; }} location /open/ {{ auth_request off; }} {ASK % ''}"
    )
    found = {rule.get("path"): "forward_auth" in rule for rule in rules(tmp_path, server)}
    assert found == {None: True, "/open/**": False, "/auth": False}


def test_fields_that_the_server_is_not_sent_are_told(tmp_path: Path) -> None:
    server = "location / { proxy_pass http://a; auth_request /auth; } "
    server += "location = /auth { proxy_pass http://ask; proxy_set_header X-Ldap-Url x; }"
    (loss,) = imported(tmp_path, f"server {{ {server} }}")["losses"]
    assert "X-Ldap-Url x': 'forward_auth' sends fields of its own" in loss


def test_a_location_before_a_named_one_keeps_its_guard(tmp_path: Path) -> None:
    server = (
        f"location / {{ auth_request /auth; try_files /dev/null @a; }} "
        f"location @a {{ proxy_pass http://a; }} {ASK % ''}"
    )
    assert rules(tmp_path, server)[0]["forward_auth"]["to"] == "http://ask:1"
