"""The source distribution holds everything of a checkout: tests, docs and launcher too."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.stage.program import ROOT

#: What a checkout collects while one works in it.
NOT_OURS = shutil.ignore_patterns(
    ".git", ".venv*", "__pycache__", "*.pyc", ".*_cache", ".hypothesis", "build", "dist", "*.egg-info", ".peers", "run",
    "wheels",
)  # fmt: skip


def test_every_file_of_the_checkout_is_in_it(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(ROOT, copy, ignore=NOT_OURS)
    wanted = {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()}
    code = "import sys; from setuptools import build_meta; print(build_meta.build_sdist(sys.argv[1]))"
    built = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=copy, capture_output=True, text=True, timeout=50, check=True
    )
    with tarfile.open(tmp_path / built.stdout.splitlines()[-1]) as archive:
        files = {member.name.partition("/")[2]: member for member in archive.getmembers() if member.isfile()}
    assert wanted - files.keys() == set()
    own = {name for name in files.keys() - wanted if ".egg-info/" not in name}
    assert own == {"PKG-INFO", "setup.cfg"}
    assert files["npserver"].mode & 0o111 == 0o111, "the launcher can be run"
    assert os.access(ROOT / "npserver", os.X_OK)
