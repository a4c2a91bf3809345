"""Steps of the master for children of another user; `tests/e2e/test_process_privileges.py` runs it as root."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from npserver.config.load import load_text
from npserver.process.limits import Identity
from npserver.process.privileged import PrivilegedSteps
from npserver.tls import watch as tls_watch

SELF = Identity(os.geteuid(), os.getegid(), "")


class Store:
    """As much of a certificate store as is asked."""

    def __init__(self, *changed: Any) -> None:
        self.changed = list(changed)
        self.files = self

    def contents(self) -> dict[str, str]:
        return {"site.key": "a key"}

    def is_in_store(self, file: str) -> bool:
        return file.startswith("/store/")

    def refresh(self) -> list[Any]:
        return self.changed


def steps(*changed: Any) -> PrivilegedSteps:
    store: Any = Store(*changed)
    return PrivilegedSteps(SELF, store)


def create_log(directory: Path, name: str) -> None:
    document = load_text(f'{{"logging": {{"access_log": "{name}"}}}}', str(directory / "c.json"))
    (directory / "c.json").touch()
    steps().create_log(document)


def test_a_missing_log_is_made_beside_the_config(tmp_path: Path) -> None:
    create_log(tmp_path, str(tmp_path / "access.log"))
    status = (tmp_path / "access.log").stat()
    assert (status.st_uid, status.st_gid, status.st_size) == (SELF.user, SELF.group, 0)
    assert status.st_mode & 0o137 == 0, "readable by its user and group alone"


def test_an_existing_log_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr(os, "fchown", lambda *arguments: given.append(arguments))
    (tmp_path / "access.log").write_text("old\n")
    create_log(tmp_path, str(tmp_path / "access.log"))
    assert (tmp_path / "access.log").read_text() == "old\n"
    assert given == []


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "access.log").symlink_to(tmp_path / "elsewhere")
    create_log(tmp_path, str(tmp_path / "access.log"))
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("name", ["stdout", "stderr", "off", "/nowhere/at/all/access.log"])
def test_where_no_file_can_be_made_there_is_none(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    create_log(tmp_path, name)
    assert [path.name for path in tmp_path.iterdir()] == ["c.json"]


def test_children_hear_of_changed_certificates_only(monkeypatch: pytest.MonkeyPatch) -> None:
    announced: list[Any] = []
    monkeypatch.setattr(tls_watch, "announce", announced.append)
    assert steps().check_certificates() == []

    changed = SimpleNamespace(settings=SimpleNamespace(cert="site.crt"))
    files, published = steps(changed).check_certificates()
    assert files == {"kind": "files", "files": {"site.key": "a key"}}
    assert published == {"kind": "published", "topic": tls_watch.TOPIC, "value": ["site.crt"]}
    assert announced == [changed]


def test_children_see_changes_in_the_store_themselves() -> None:
    changed = SimpleNamespace(settings=SimpleNamespace(cert="/store/site.pem"))
    assert steps(changed).check_certificates() == []
