"""The files that a config is made of: read once, given to other processes, and watched.

Covers `config.files`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from npserver.config.files import ConfigFiles


def test_a_value_is_read_once(tmp_path: Path) -> None:
    file = tmp_path / "value"
    file.write_text("one\n")
    files = ConfigFiles()
    assert files.value(str(file)) == "one"
    file.write_text("another\n")
    assert files.value(str(file)) == "one"
    assert ConfigFiles(files.content()).value(str(file)) == "one"


def test_another_process_reads_nothing_itself(tmp_path: Path) -> None:
    (tmp_path / "value").touch()
    with pytest.raises(FileNotFoundError):
        ConfigFiles(ConfigFiles().content()).value(str(tmp_path / "value"))


def test_a_named_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="not a regular file"):
        ConfigFiles().value(str(tmp_path / "pipe"))


def test_a_file_that_is_changed_appears_or_is_gone_is_seen(tmp_path: Path) -> None:
    file, link = tmp_path / "value", tmp_path / "link"
    files = ConfigFiles()
    with pytest.raises(FileNotFoundError):
        files.value(str(file))
    assert not files.has_changed()
    file.write_text("one")
    assert files.has_changed()
    link.symlink_to(file)
    files = ConfigFiles()
    files.value(str(link))
    assert not files.has_changed()
    (tmp_path / "new").write_text("two")
    (tmp_path / "other").symlink_to(tmp_path / "new")
    (tmp_path / "other").replace(link)
    assert files.has_changed()
    files = ConfigFiles()
    files.value(str(link))
    link.unlink()
    assert files.has_changed()
