"""Fixtures of the tests of static files."""

from __future__ import annotations

from pathlib import Path

import pytest

from npserver.web.handlers.static import files, validators
from tests.stage.site import TEXT


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = tmp_path / "www"
    directory.mkdir()
    (directory / "f.txt").write_bytes(b"old content")
    (directory / "big.txt").write_bytes(TEXT)
    return directory


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every file for one that has not been touched for long."""
    for module in (files, validators):
        monkeypatch.setattr(module, "UNSETTLED_NS", -(10**18))
