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


def test_files_that_include_each_other_are_bounded(tmp_path: Path) -> None:
    for number in range(60):
        (tmp_path / f"{number}.conf").write_text(f"include {number + 1}.conf;")
    with pytest.raises(ConfigError, match=rf"/32.conf:1:1: more than {MAX_DEPTH} blocks and files inside each other"):
        read_directives(str(tmp_path / "0.conf"))


def test_a_file_that_includes_itself_by_another_name(tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text("\n\ninclude b.conf;")
    (tmp_path / "b.conf").symlink_to("a.conf")
    with pytest.raises(ConfigError, match=r"/a.conf:3:1: 'b.conf' includes itself"):
        read_directives(str(tmp_path / "a.conf"))


def test_what_is_included_and_is_no_file_is_named_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "sites" / "old").mkdir(parents=True)
    (tmp_path / "nginx.conf").write_text("http {\ninclude sites/*; }")
    with pytest.raises(ConfigError, match=r"/nginx.conf:2:1: cannot include .*sites/old.*: not a file"):
        read_directives(str(tmp_path / "nginx.conf"))


def test_a_variable_in_an_include_is_a_name_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "nginx.conf").write_text("include sites/$host/*.conf; include ${HOME}.conf;")
    (found,) = read_directives(str(tmp_path / "nginx.conf"))
    assert (found.args, found.why) == (["${HOME}.conf"], "there is no such file here")


@pytest.mark.parametrize(
    ("text", "args"),
    [
        (r'add_header X "a \"b\"; { }";', ["X", 'a "b"; { }']),
        ("add_header X 'a\nb';", ["X", "a\nb"]),
        (r"add_header X a\;b;", ["X", r"a\;b"]),
        ('add_header X "#no comment"; # a comment', ["X", "#no comment"]),
        ("add_header X ${a}b;", ["X", "${a}b"]),
        ("add_header X \xe4\u20ac;", ["X", "\xe4\u20ac"]),
    ],
)
def test_unusual_quotes(text: str, args: list[str], tmp_path: Path) -> None:
    (tmp_path / "nginx.conf").write_text(text)
    assert read_directives(str(tmp_path / "nginx.conf"))[0].args == args


def test_the_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "crossplane", None)
    with pytest.raises(MissingPackage, match=r"needs the package crossplane: .* -m pip install"):
        read_directives(str(tmp_path / "x"))
