"""`map` as `maps`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stage.imported import imported

SERVER = "server { root /w; add_header X-A a$value; }"


@pytest.mark.parametrize(
    ("entries", "ours"),
    [
        ('"" x; default y;', {"from": "${query.v}", "to": {"": "x"}, "default": "y"}),
        ("hostnames; *.b.example x;", {"from": "${query.v}", "to": {"*.b.example": "x"}}),
        ("~^a x; ~(b|c)$ y;", {"from": "${query.v}", "to": {"a*": "x", "*b": "y", "*c": "y"}}),
    ],
)
def test_a_map_whose_values_are_texts(entries: str, ours: object, tmp_path: Path) -> None:
    config = imported(tmp_path, f"http {{ map $arg_v $value {{ {entries} }} {SERVER} }}")
    assert config["maps"] == {"value": ours}
    assert config["dispatch"][0]["response_headers"] == {"X-A": "a${map.value}"}
    assert config["losses"] == []


@pytest.mark.parametrize("entries", ["default $scheme;", "~*a[bc]+ x;", "~*abc x;"])
def test_another_map_is_lost_where_it_is_used(entries: str, tmp_path: Path) -> None:
    config = imported(tmp_path, f"http {{ map $arg_v $value {{ {entries} }} {SERVER} }}")
    assert "maps" not in config
    assert len(config["losses"]) == 1


def test_the_scheme_that_a_proxy_in_front_tells_of(tmp_path: Path) -> None:
    server = "server { location / { proxy_pass http://a; proxy_set_header X-Forwarded-Proto $proto; } }"
    config = imported(
        tmp_path, f"http {{ map $http_x_forwarded_proto $proto {{ default $scheme; https https; }} {server} }}"
    )
    assert config["dispatch"] == [{"handler": "proxy", "proxy_pass": "http://a"}]
    assert config["losses"] == []
