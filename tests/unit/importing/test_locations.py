"""Which locations a server has. Their order is in test_server.py."""

from __future__ import annotations

from pathlib import Path

from npserver.importing.directives import read_directives
from npserver.importing.draft import Draft
from npserver.importing.locations import Locations, locations_of
from npserver.importing.scope import Scope


def read(directory: Path, text: str) -> tuple[Locations, Draft]:
    (directory / "nginx.conf").write_text(text)
    draft = Draft()
    return locations_of(Scope([read_directives(str(directory / "nginx.conf"))]), draft), draft


def test_kinds(tmp_path: Path) -> None:
    found, draft = read(
        tmp_path, r"location = /a { } location /b/ { location ~ x { } } location ^~ /c { } location @d { }"
    )
    assert (list(found.exact), list(found.prefixes), list(found.named)) == (["/a"], ["/b", "/c"], ["@d"])
    assert [one.outer is found.prefixes["/b"] for one in found.regex] == [True]
    assert found.prefixes["/c"].is_final
    assert draft.losses == []


def test_the_location_of_a_path(tmp_path: Path) -> None:
    found, _ = read(tmp_path, "location = /a { } location / { } location /a/ { }")
    assert [one and one.written for one in map(found.find, ("/a", "/a/b", "/ab"))] == ["/a", "/a/", "/"]


def test_what_is_no_path_is_lost(tmp_path: Path) -> None:
    _, draft = read(tmp_path, "location (^/x/.*$) { }")
    assert len(draft.losses) == 1
