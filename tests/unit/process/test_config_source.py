"""The source of a config, and reading it again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from npserver.config.document import COMMAND_LINE
from npserver.errors import ConfigError
from npserver.process.config_source import ConfigSource


def test_a_file_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    source = ConfigSource(str(file))
    for size in (5, 6):
        file.write_text(f'{{"backlog": {size}}}')
        assert source.document(source.read()).config.backlog == size


def test_the_command_line_changes_what_the_file_says(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text('{"backlog": 5}')
    source = ConfigSource(str(file), lambda document: replace(document, config=replace(document.config, root="www")))
    config = source.document(source.read()).config
    assert (config.backlog, config.root) == (5, "www")


def test_without_a_file_there_is_the_command_line() -> None:
    source = ConfigSource("")
    assert source.read() == ""
    assert source.document("").file == COMMAND_LINE
    assert source.state() is None


def test_a_file_that_cannot_be_read_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the config"):
        ConfigSource(str(tmp_path / "none.json")).read()


def test_a_changed_file_is_seen_by_its_time_size_or_inode(tmp_path: Path) -> None:
    file, new = tmp_path / "a.json", tmp_path / "b.json"
    source = ConfigSource(str(file))
    assert source.state() is None
    found = []
    for text, time_ns in (("{}", 5), ("{}", 6), ("[]\n", 6), ("{}\n", 6)):
        new.write_text(text)
        os.utime(new, ns=(1, time_ns))
        new.replace(file)
        found.append(source.state())
        assert source.state() == found[-1]
    assert len(set(found)) == 4
