"""What answers, as a handler of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.stage.imported import rules


@pytest.mark.parametrize(
    ("directives", "keys"),
    [
        ("return 301 /x;", {"handler": "redirect", "to": "/x", "status": 301}),
        ("return https://x;", {"handler": "redirect", "to": "https://x", "status": 302}),
        ("return 404;", {"handler": "respond", "status": 404}),
        ("return 200 $nothing;", {"handler": "respond", "status": 501, "body": "not imported\n"}),
        ("internal;", {"handler": "respond", "status": 404}),
        ("deny all;", {"handler": "respond", "status": 403}),
        ("uwsgi_pass a:1;", {"handler": "respond", "status": 501, "body": "not imported\n"}),
        ("stub_status;", {"handler": "status", "errors": False}),
        ("alias /srv/y/;", {"handler": "static", "root": "/srv/y/", "index": "index.html"}),
        ("root /srv;", {"handler": "static", "root": "/srv/x", "index": "index.html"}),
        (
            "root /srv; index a; try_files $uri $uri.html =404;",
            {
                "handler": "static",
                "root": "/srv/x",
                "index": "a",
                "try_files": ["$path", "${path}.html", "=404"],
            },
        ),
        (
            "root /srv; try_files $uri $uri/ /x/a.html;",
            {"handler": "static", "root": "/srv/x", "index": "index.html", "fallback": "a.html"},
        ),
        (
            "root /srv; try_files $uri /x/a.html;",
            {"handler": "static", "root": "/srv/x", "index": "index.html", "try_files": ["$path", "/a.html"]},
        ),
        (
            "root /srv; expires max; add_header Cache-Control public;",
            {
                "handler": "static",
                "root": "/srv/x",
                "index": "index.html",
                "cache_control": "max-age=315360000, public",
            },
        ),
        ("root /srv; gzip on;", {"handler": "static", "root": "/srv/x", "index": "index.html", "gzip": True}),
    ],
)
def test_handlers(directives: str, keys: dict[str, Any], tmp_path: Path) -> None:
    _, rule = rules(tmp_path, f"location / {{ return 200; }} location /x/ {{ {directives} }}")
    assert rule == {"path": "/x/**", **keys}


@pytest.mark.parametrize("way", ["try_files $uri @b;", "error_page 418 = @b; return 418;"])
def test_named_locations_that_lead_to_each_other_are_answered_with_501(way: str, tmp_path: Path) -> None:
    (rule,) = rules(tmp_path, f"location / {{ {way} }} location @b {{ {way} }}")
    assert rule["status"] == 501
