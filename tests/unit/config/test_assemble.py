"""Configs of several files: merged, with each part at its own place.

Covers `config.assemble` with `config.files`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from npserver.cli.check import check
from npserver.config import assemble
from npserver.config.document import Document
from npserver.config.files import ConfigFiles
from npserver.config.load import load, load_text
from npserver.errors import ConfigError


def write(directory: Path, **files: Any) -> str:
    """Write files, by their names with `_` for a slash; return the name of `main`."""
    for name, content in files.items():
        file = directory / f"{name.replace('_', '/')}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(directory / "main.json")


def messages(file: str, directory: Path, read: Callable[[str], object] = load) -> list[str]:
    """Return what is wrong with a config, without the name of its directory."""
    try:
        read(file)
    except ConfigError as error:
        return [str(problem).replace(f"{directory}/", "") for problem in error.problems]
    return []


RULE = {"handler": "respond"}


class TestMerging:
    def test_lists_are_appended_and_objects_merged_in_the_order_of_the_names(self, tmp_path: Path) -> None:
        main = write(
            tmp_path,
            main={
                "include": ["last.json", "sites/*.json"],
                "dispatch": [{**RULE, "body": "main"}],
                "logging": {"level": "debug"},
                "networks": {"a": ["10.0.0.0/8"]},
            },
            last={"dispatch": [{**RULE, "body": "last"}], "logging": {"format": "json"}, "listen": ["http://:1"]},
            sites_b={"dispatch": [{**RULE, "body": "b"}], "networks": {"b": ["10.0.0.0/8"]}, "workers": 3},
            sites_a={
                "dispatch": [{**RULE, "body": "a1"}, {**RULE, "body": "a2"}],
                "listen": ["http://:2"],
                "$schema": "x",
            },
        )
        (tmp_path / "sites" / ".hidden.json").write_text("no JSON")
        document = load(main)
        config = document.config
        assert [getattr(rule, "body", "") for rule in config.dispatch] == ["main", "last", "a1", "a2", "b"]
        assert (config.logging.level, config.logging.format) == ("debug", "json")
        assert (config.listen, [*config.networks], config.workers) == (["http://:1", "http://:2"], ["a", "b"], 3)
        assert config.include == []
        assert document.files.included == 3
        for path, file in (
            (("dispatch", 0, "body"), "main"),
            (("dispatch", 1, "body"), "last"),
            (("dispatch", 2, "body"), "sites/a"),
            (("dispatch", 3, "body"), "sites/a"),
            (("dispatch", 4), "sites/b"),
            (("logging", "level"), "main"),
            (("logging", "format"), "last"),
            (("networks", "b", 0), "sites/b"),
            (("workers",), "sites/b"),
            (("listen", 1), "sites/a"),
        ):
            assert document.origin(path) == f"{tmp_path}/{file}.json"
            self._stands_there(document, path)

    @staticmethod
    def _stands_there(document: Document, path: Any) -> None:
        """The place of a value must be where its text is."""
        value: Any = document.config
        for part in path:
            value = value[part] if isinstance(value, (list, dict)) else getattr(value, part)
        line, column = document.position(path)
        there = Path(document.origin(path)).read_text().splitlines()[line - 1][column - 1 :]
        assert there.startswith("{" if not isinstance(value, (str, int)) else json.dumps(value))

    def test_files_are_named_relative_to_the_file_that_includes_them(self, tmp_path: Path) -> None:
        main = write(
            tmp_path, main={"include": "sub/a.json"}, sub_a={"include": ["b.json", "../c.json"]}, sub_b={"root": "x"},
            c={"user": "joe"},
        )  # fmt: skip
        config = load(main).config
        assert (config.root, config.user) == ("x", "joe")

    def test_values_of_variables_may_name_files_and_stand_in_them(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("N_DIRECTORY", "sub")
        (tmp_path / "secret").write_text("one")
        main = write(tmp_path, main={"include": ["${N_DIRECTORY}/*.json"]}, sub_a={"server_header": "${file:secret}"})
        assert load(main).config.server_header == "one"

    def test_a_pattern_may_match_nothing_and_files_already_there(self, tmp_path: Path) -> None:
        main = write(
            tmp_path, main={"include": ["none*.json", "b.json", "*.json"]}, a={"listen": ["http://:1"]},
            b={"listen": ["http://:2"]},
        )  # fmt: skip
        assert load(main).config.listen == ["http://:2", "http://:1"]

    def test_links_are_followed(self, tmp_path: Path) -> None:
        main = write(tmp_path, main={"include": ["on/*.json"]}, there_a={"root": "x"})
        (tmp_path / "on").mkdir()
        (tmp_path / "on" / "a.json").symlink_to("../there/a.json")
        assert load(main).config.root == "x"

    def test_another_process_has_what_was_read(self, tmp_path: Path) -> None:
        main = write(tmp_path, main={"include": ["s/*.json", "b.json"]}, s_a={"root": "x"}, b={"user": "joe"})
        files = ConfigFiles()
        text = Path(main).read_text()
        load_text(text, main, files=files)
        supplied = ConfigFiles(json.loads(json.dumps(files.content())))
        for name in ("s/a", "b"):
            (tmp_path / f"{name}.json").unlink()
        document = load_text(text, main, files=supplied)
        assert (document.config.root, document.config.user, document.files.included) == ("x", "joe", 2)


class TestWatching:
    def test_files_that_change_come_and_go_are_seen(self, tmp_path: Path) -> None:
        main = write(tmp_path, main={"include": ["s/*.json"]}, s_a={"root": "x"})
        files = load(main).files
        assert not files.has_changed()
        write(tmp_path, s_b={"user": "x"})
        assert files.has_changed()
        files = load(main).files
        assert not files.has_changed()
        write(tmp_path, s_a={"root": "another"})
        assert files.has_changed()
        files = load(main).files
        (tmp_path / "s" / "a.json").unlink()
        assert files.has_changed()


class TestFaults:
    def test_each_is_told_with_the_file_in_which_it_stands(self, tmp_path: Path) -> None:
        main = write(
            tmp_path,
            main='{"include": ["a.json", "b.json"],\n"listen": ["http://127.0.0.1:0"], "workers": "x"}',
            a='{"listen": [5, "http://127.0.0.1:0"],\n"dispatch": [{"handler": "respond", "allow": "unknown"}]}',
            b='{"dispatch": [\n{"handler": "static", "rot": 1}],\n\n"logging": {"x": 1, "x": 2}}',
        )
        found = [message.split(":")[:3] for message in messages(main, tmp_path, check)]
        assert found == [
            ["main.json", "2", "46"],
            ["a.json", "1", "13"],
            ["a.json", "2", "46"],
            ["b.json", "2", "23"],
            ["b.json", "4", "21"],
        ]

    @pytest.mark.parametrize(
        ("files", "message"),
        [
            (
                {"main": '{"include": ["a.json"], "root": "x"}', "a": '{\n "root": "y"}'},
                "a.json:2:2: 'root' is given at main.json:1:25, too: remove one of the two",
            ),
            (
                {
                    "main": '{"include": ["a.json", "b.json"]}',
                    "a": '{"upstreams": {"x": {"targets": ["http://a"]}}}',
                    "b": '{"upstreams": {\n"x": {"targets": ["http://b"]}}}',
                },
                "b.json:2:1: 'x' of 'upstreams' is given at a.json:1:16, too: remove one of the two",
            ),
            (
                {"main": '{"include": ["a.json"], "tls": [{"internal": true}]}', "a": '{"tls": "internal"}'},
                "a.json:1:2: 'tls' is given at main.json:1:25, too: write a list in both files",
            ),
            (
                {"main": '{"include": ["a.json"]}'},
                "main.json:1:14: cannot include 'a.json': no such file or directory: name a file that",
            ),
            ({"main": '{"include": "main.json"}'}, "main.json:1:13: 'main.json' includes itself: main.json > "),
            (
                {"main": '{"include": ["a.json"]}', "a": '{"include": ["b.json"]}', "b": '{"include": [\n"a.json"]}'},
                "b.json:2:1: 'a.json' includes itself: a.json > b.json > a.json: remove it here",
            ),
            (
                {"main": '{"include": ["a.json", "./a.json"]}', "a": "{}"},
                "main.json:1:24: './a.json' is included at main.json:1:14, too: remove one of the two",
            ),
            ({"main": '{"include": ["a.json"]}', "a": '{"root" "x"}'}, "a.json:1:9: expected ':' after the key 'root'"),
            ({"main": '{"include": ["a.json"]}', "a": "[]"}, "a.json:1:1: expected an object, got a list"),
            ({"main": '{"include": ["a.json"]}', "a": ""}, "a.json:1:1: nothing in the file"),
            ({"main": '{"include": [5]}'}, "main.json:1:14: 'include': expected a string or a list of strings, got 5"),
            ({"main": '{"include": {}}'}, "main.json:1:13: 'include': expected a string or a list of strings, got an "),
            ({"main": '{"include": [""]}'}, "main.json:1:14: 'include': expected a string or a list of strings, got"),
            (
                {"main": '{"include": ["a.json"]}', "a": '{"root": "${N_NONE}"}'},
                "a.json:1:10: the environment variable 'N_NONE' is not set",
            ),
            ({"main": '{"include": ["sub"]}', "sub_a": "{}"}, "main.json:1:14: cannot include 'sub': is a directory"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_merged_is_refused(self, tmp_path: Path, files: dict[str, str], message: str) -> None:
        found = messages(write(tmp_path, **files), tmp_path)
        assert len(found) == 1
        assert found[0].startswith(message)

    def test_a_file_that_is_no_text_is_refused(self, tmp_path: Path) -> None:
        main = write(tmp_path, main={"include": ["a.json"]})
        (tmp_path / "a.json").write_bytes(b'{"root": "\xff"}')
        assert messages(main, tmp_path) == ["a.json:1:11: not UTF-8: byte 0xff"]
        (tmp_path / "a.json").unlink()
        os.mkfifo(tmp_path / "a.json")
        assert "not a regular file: name one that is" in messages(main, tmp_path)[0]

    def test_files_that_include_each_other_without_end_are_refused(self, tmp_path: Path) -> None:
        files = {f"f{number}": {"include": [f"f{number + 1}.json"]} for number in range(20)}
        (found,) = messages(write(tmp_path, main={"include": "f0.json"}, **files), tmp_path)
        assert found == "f7.json:1:14: more than 8 files that include each other: name it in another"

    def test_more_files_than_a_config_may_have_are_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(assemble, "MAX_FILES", 3)
        files = {f"s_{number}": {} for number in range(4)}
        (found,) = messages(write(tmp_path, main={"include": "s/*.json"}, **files), tmp_path)
        assert found == "main.json:1:13: more than 3 files: include fewer"

    def test_files_may_not_be_larger_together_than_one(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(assemble, "MAX_FILE_BYTES", 4096)
        files = {f"s_{number}": {"root" if number else "user": "x" * 2000} for number in range(2)}
        main = write(tmp_path, main={"include": "s/*.json"}, **files)
        assert load(main).files.included == 2
        files["s_1"] = {"root": "x" * 3000}
        (found,) = messages(write(tmp_path, main={"include": "s/*.json"}, **files), tmp_path)
        assert "main.json:1:13: cannot include 's/1.json': larger than 2 KiB" in found

    def test_a_directory_that_cannot_be_read_is_no_empty_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        main = write(tmp_path, main={"include": "s/*.json"}, s_a={})

        def refuse(path: str) -> list[str]:
            raise PermissionError(13, "Permission denied", path)

        monkeypatch.setattr("npserver.config.files.os.listdir", refuse)
        (found,) = messages(main, tmp_path)
        assert found == (
            "main.json:1:13: cannot read the directory of 's/*.json': permission denied: let npserver read it"
        )

    def test_a_directory_that_is_missing_is_no_empty_one(self, tmp_path: Path) -> None:
        main = write(tmp_path, main={"include": ["sities/*.json"]}, sites_a={})
        (found,) = messages(main, tmp_path)
        assert found == (
            "main.json:1:14: cannot read the directory of 'sities/*.json': no such file or directory: "
            "make it, or name another one"
        )
