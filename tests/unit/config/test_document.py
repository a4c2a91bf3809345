"""Where each part of a config stands."""

from __future__ import annotations

from pathlib import Path

from npserver.cli.overrides import from_arguments
from npserver.config.document import COMMAND_LINE
from npserver.config.load import load_text

TEXT = '{\n  "root": "www",\n  "limits": { "max_body_size": "1m" }\n}'


def test_keys_and_values_have_their_places() -> None:
    document = load_text(TEXT, "a.json")
    assert document.position(("root",)) == (2, 11)
    assert document.key_position(("root",)) == (2, 3)
    assert document.place(("limits", "max_body_size")) == "a.json:3:32"


def test_a_part_that_is_not_written_has_the_place_of_what_is_around_it() -> None:
    document = load_text(TEXT, "a.json")
    assert document.position(("limits", "max_headers")) == document.position(("limits",)) == (3, 13)


def test_what_the_command_line_says_stands_there() -> None:
    document = from_arguments([("http://:8080", [])], root="www")
    path = ("listen", 0)
    assert (document.position(path), document.origin(path), document.place(path)) == (
        (0, 0),
        COMMAND_LINE,
        COMMAND_LINE,
    )


def test_files_are_looked_for_beside_the_config_first(tmp_path: Path) -> None:
    (tmp_path / "there.txt").touch()
    (tmp_path / "a.json").write_text("{}")
    document = load_text("{}", str(tmp_path / "a.json"))
    assert document.resolve("there.txt") == str(tmp_path / "there.txt")
    assert document.resolve("missing.txt") == "missing.txt"
    assert document.resolve("/etc") == "/etc"
