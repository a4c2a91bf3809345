"""What is read of nginx's files, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from npserver.errors import ConfigError
from npserver.importing.directives import MAX_DEPTH, MissingPackage, read_directives


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http {\n server {", ":2:1: unexpected end of file"),
        ("http {}\n}", ':2:1: unexpected "}"'),
        ("listen 80", "the file ends within a directive"),
        ("a {" * (MAX_DEPTH + 1), f":1:1: more than {MAX_DEPTH} blocks inside each other"),
        ("\ninclude nginx.conf;", ":2:1: 'nginx.conf' includes itself"),
        ("\nserver;", ':2:1: directive "server" has no opening'),
        ("server {\nlocation { } }", ":2:1: 'location' needs 1 value, got 0"),
        ("server {\nadd_header X; }", ":2:1: 'add_header' needs 2 values, got 1"),
        ("# " + "x" * (1 << 20) + "\n", ": larger than 1 MiB"),
        ("x;\n" * 100_001, ":100001:1: more than 100000 directives"),
    ],
)
def test_a_file_that_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "nginx.conf").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_directives(str(tmp_path / "nginx.conf"))
    assert message in str(caught.value)


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_directives(str(tmp_path / "x"))


def test_includes_are_followed(tmp_path: Path) -> None:
    (tmp_path / "sites").mkdir()
    (tmp_path / "sites" / "b.conf").write_text("second;")
    (tmp_path / "sites" / "a.conf").write_text("\nfirst;")
    (tmp_path / "nginx.conf").write_text("include sites/*.conf; include missing; include mime.types;")
    found = read_directives(str(tmp_path / "nginx.conf"))
    assert [one.name for one in found] == ["first", "second", "include"]
    assert found[0].place == f"{tmp_path}/sites/a.conf:2"
    assert found[2].why == "there is no such file here"


def test_the_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "crossplane", None)
    with pytest.raises(MissingPackage, match=r"needs the package crossplane: .* -m pip install"):
        read_directives(str(tmp_path / "x"))
