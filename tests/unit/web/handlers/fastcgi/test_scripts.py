"""What a path leads to: a script only if it exists, a file only if it is none, else the front controller."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from npserver.web.handlers.fastcgi.scripts import MAX_KEPT, Found, Script, Scripts
from npserver.web.handlers.static.root import FileError, Root

FRONT = ("/index.php", "/index.php", "")


def scripts(root: Path, **changes: object) -> Scripts:
    values: dict[str, object] = {
        "prefix": "", "endings": (".php",), "index": ("index.php", "index.html"), "fallback": "/index.php",
        "shows_hidden": False, "check_interval_s": 0.0, "follow_symlinks": False,
    }  # fmt: skip
    values |= changes
    follow = bool(values.pop("follow_symlinks"))
    return Scripts(Root(str(root), follow_symlinks=follow), **values)  # type: ignore[arg-type]


def script(found: object) -> tuple[str, str, str] | object:
    if not isinstance(found, Script):
        return found
    return os.fsdecode(found.name), os.fsdecode(found.file), os.fsdecode(found.info)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    www = tmp_path / "www"
    for name in (
        "index.php", "a.php", "B.PHP", "photo.jpg", "f.txt", "admin/index.php", "docs/index.html", "empty/x.txt",
        "lib.php/inner.php", "lib.php/f.txt", ".env", ".git/x.php", ".well-known/w.php", "ü b.php", "both/index.html",
        "both/index.php", "a.phps", "İİİİ.php", "İ/İ.php",
    ):  # fmt: skip
        path = www / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("<?php")
    return www


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", FRONT),
        ("/a.php", ("/a.php", "/a.php", "")),
        ("/a.php/", ("/a.php", "/a.php", "/")),
        ("/a.php/x/y.php", ("/a.php", "/a.php", "/x/y.php")),
        ("/a.php/x%20y", ("/a.php", "/a.php", "/x y")),
        ("/%C3%BC%20b.php", ("/ü b.php", "/ü b.php", "")),
        ("/%C4%B0%C4%B0%C4%B0%C4%B0.php", ("/İİİİ.php", "/İİİİ.php", "")),  # longer in lower case
        ("/%C4%B0/%C4%B0.php/x", ("/İ/İ.php", "/İ/İ.php", "/x")),
        ("/B.PHP", ("/B.PHP", "/B.PHP", "")),  # PHP-FPM refuses it, but its source is not shown
        ("/lib.php/inner.php/x", ("/lib.php/inner.php", "/lib.php/inner.php", "/x")),
        ("/lib.php/f.txt", Found.FILE),
        ("/admin/", ("/admin/index.php", "/admin/index.php", "")),
        ("/admin", Found.DIRECTORY),
        ("/both/", ("/both/index.php", "/both/index.php", "")),
        ("/docs/", Found.FILE),
        ("/docs", Found.DIRECTORY),
        ("/empty/", FRONT),
        ("/empty", FRONT),
        ("/f.txt", Found.FILE),
        ("/photo.jpg", Found.FILE),
        ("/a.phps", Found.FILE),
        ("/blog/2026/post", FRONT),
        ("/f.txt/below", FRONT),
        ("/api/a%2Fb", FRONT),  # no file name has a slash
        ("*", FRONT),  # of OPTIONS
        ("/.env", FRONT),
        ("/.git/x.php", FileError.MISSING),
        ("/a.php/.x/y", ("/a.php", "/a.php", "/.x/y")),
        ("/a.php/b%2Fc/d%2F", ("/a.php", "/a.php", "/b/c/d/")),
        ("/a.php/b/c%2Fd.php", ("/a.php", "/a.php", "/b/c/d.php")),
        ("/a.php%2Fb", FRONT),
        ("/none.php/b%2Fc", FileError.MISSING),
        ("/%2F", FRONT),
        ("/.well-known/w.php", ("/.well-known/w.php", "/.well-known/w.php", "")),
    ],
)
def test_each_path_leads_to_one_thing(root: Path, path: str, expected: object) -> None:
    assert script(scripts(root).find(path)) == expected


@pytest.mark.parametrize(
    "path",
    [
        "/photo.jpg/x.php", "/photo.jpg/.php", "/photo.jpg/a.php/b.php", "/none.php", "/none/x.php", "/f.txt/a.php",
        "/none.php/photo.jpg", "/photo.jpg%20.php", "/photo.jpg/x.php/photo.jpg", "/A.php", "/lib.php/none.php",
        "/photo.jpg;.php",
    ],
)  # fmt: skip
def test_nothing_but_a_script_is_run(root: Path, path: str) -> None:
    """The FastCGI server is never told of a path that it would have to search for a script."""
    found = scripts(root).find(path)
    assert found is FileError.MISSING


def test_hidden_names_are_found_if_the_rule_says_so(root: Path) -> None:
    found = scripts(root, shows_hidden=True)
    assert found.find("/.env") is Found.FILE
    assert script(found.find("/.git/x.php")) == ("/.git/x.php", "/.git/x.php", "")


def test_the_prefix_is_part_of_the_name_not_of_the_file(root: Path) -> None:
    found = scripts(root, prefix="/my%20shop")
    assert script(found.find("/my%20shop/a.php/x")) == ("/my shop/a.php", "/a.php", "/x")
    assert script(found.find("/my%20shop/some/page")) == ("/my shop/index.php", "/index.php", "")
    assert found.find("/my%20shop") is Found.DIRECTORY
    assert found.find("/my%20shop/docs") is Found.DIRECTORY


def test_there_may_be_no_front_controller(root: Path) -> None:
    assert scripts(root, fallback="").find("/blog") is FileError.MISSING
    assert scripts(root, fallback="/none.php").find("/blog") is FileError.MISSING
    assert scripts(root, fallback="/lib.php").find("/blog") is FileError.MISSING  # a directory
    assert script(scripts(root, fallback="/a.php").find("/blog")) == ("/a.php", "/a.php", "")


def test_several_endings(root: Path) -> None:
    found = scripts(root, endings=(".php", ".phps"))
    assert script(found.find("/a.phps/x")) == ("/a.phps", "/a.phps", "/x")


def test_links_are_followed_within_the_root_only(root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.php").write_text("<?php")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "index.php").write_text("<?php")
    (root / "out.php").symlink_to(tmp_path / "outside.php")
    (root / "in.php").symlink_to(root / "a.php")
    (root / "else").symlink_to(tmp_path / "elsewhere")
    found = scripts(root)
    assert found.find("/out.php") is FileError.OUTSIDE
    assert found.find("/else/index.php") is FileError.OUTSIDE
    assert found.find("/else/") is FileError.OUTSIDE
    assert script(found.find("/in.php")) == ("/in.php", "/in.php", "")
    assert script(scripts(root, follow_symlinks=True).find("/out.php")) == ("/out.php", "/out.php", "")


def test_a_pipe_is_no_script(root: Path) -> None:
    os.mkfifo(root / "pipe.php")
    os.mkfifo(root / "pipe")
    assert scripts(root).find("/pipe.php") is FileError.MISSING
    assert script(scripts(root).find("/pipe")) == FRONT


def test_a_result_is_kept_for_a_while(root: Path) -> None:
    found = scripts(root, check_interval_s=3600.0)
    assert script(found.find("/a.php")) == ("/a.php", "/a.php", "")
    (root / "a.php").unlink()
    assert script(found.find("/a.php")) == ("/a.php", "/a.php", "")
    assert scripts(root).find("/a.php") is FileError.MISSING


def test_results_are_bounded(root: Path) -> None:
    found = scripts(root, check_interval_s=3600.0)
    for number in range(MAX_KEPT + 10):
        found.find(f"/page/{number}")
    assert len(found._kept) == 10
    found.find("/" + "x" * 600)
    assert len(found._kept) == 10


def test_a_path_of_many_scripts_is_looked_up_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    stat = Root.stat
    monkeypatch.setattr(Root, "stat", lambda self, path: calls.append(path) or stat(self, path))
    assert scripts(root).find("/x.php" * 1000) is FileError.MISSING
    assert calls == ["/x.php"]
