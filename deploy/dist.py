"""Build the source distribution and the wheel: `python -m deploy.dist [DIRECTORY]`, by default into `dist`.

The wheel is made from the unpacked source distribution, as an installer makes it. Nothing is left in the checkout. The
README that both have is that of `deploy.description`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from deploy.description import describe

ROOT = Path(__file__).parents[1]
#: What a checkout collects while one works in it.
NOT_OURS = shutil.ignore_patterns(
    ".git", ".venv*", "__pycache__", "*.pyc", ".*_cache", ".hypothesis", "build", "dist", "*.egg-info", ".peers", "run",
    "wheels",
)  # fmt: skip
#: The time of all files in the wheel, so that a second build makes the same.
EPOCH = "1577836800"


def build(directory: Path) -> tuple[Path, Path]:
    """Build both into `directory`. Return the paths of the source distribution and of the wheel."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        copy = Path(work, "checkout")
        shutil.copytree(ROOT, copy, ignore=NOT_OURS)
        (copy / "README.md").write_text(describe((ROOT / "README.md").read_text()))
        source = directory / _ask_setuptools("build_sdist", copy, directory)
        with tarfile.open(source) as archive:
            archive.extractall(work)
        wheel = directory / _ask_setuptools("build_wheel", Path(work, source.name.removesuffix(".tar.gz")), directory)
    return source, wheel


def _ask_setuptools(hook: str, source: Path, target: Path) -> str:
    """Call a hook of PEP 517 in the directory `source`. Return the name of the file that it made."""
    code = f"import sys; from setuptools import build_meta; print(build_meta.{hook}(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(target.resolve())],
        cwd=source, env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout.splitlines()[-1]


if __name__ == "__main__":
    for path in build(Path(*sys.argv[1:2] or ["dist"])):
        print(path)
