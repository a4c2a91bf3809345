"""Who may come in, and header fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.stage.imported import imported, rules


@pytest.mark.parametrize(
    ("directives", "keys"),
    [
        ("allow 10.0.0.0/8; deny all;", {"allow": ["10.0.0.0/8"]}),
        ("deny 10.0.0.1; allow all;", {"deny": ["10.0.0.1"]}),
        ("deny 10.0.0.1; allow 10.0.0.0/8; deny all;", {"allow": ["10.0.0.0/8"], "deny": ["10.0.0.1"]}),
        ("allow 10.0.0.1;", {}),
        ("deny 10.0.0.1; deny all;", {"deny": ["0.0.0.0/0", "::/0"]}),
        ('auth_basic "x"; auth_basic_user_file /f;', {"basic_auth": {"file": "/f", "realm": "x"}}),
        ("auth_basic off; auth_basic_user_file /f;", {}),
        ('add_header X-A "b"; add_header X-A c always;', {"response_headers": {"X-A": ["b", "c"]}}),
        ("expires 1h;", {"cache_control": "max-age=3600"}),
        ("expires +1d;", {"cache_control": "max-age=86400"}),
        ('add_header X-A "";', {}),
        ("access_log off;", {"log": False}),
        ("add_header X-A $unknown;", {}),
    ],
)
def test_keys(directives: str, keys: dict[str, Any], tmp_path: Path) -> None:
    (rule,) = rules(tmp_path, f"root /srv; {directives}")
    assert rule == {"handler": "static", "root": "/srv", "index": "index.html", **keys}


@pytest.mark.parametrize("guard", ["auth_request $x;", "limit_except { deny all; }", "secure_link $arg_md5;"])
def test_a_location_whose_guard_is_unknown_is_not_open(guard: str, tmp_path: Path) -> None:
    config = imported(tmp_path, f"server {{ location / {{ {guard} proxy_pass http://a:1; }} }}")
    assert config["dispatch"][0]["status"] == 501
    assert len(config["losses"]) == 1
