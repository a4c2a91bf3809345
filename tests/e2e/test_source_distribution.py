"""What `make dist` builds: a source distribution with everything of a checkout, and a wheel that works by itself."""

from __future__ import annotations

import email
import os
import re
import shutil
import site
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import npserver
from deploy.description import describe
from deploy.dist import NOT_OURS, build
from tests.stage.asking import get
from tests.stage.program import ROOT


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source distribution and the wheel."""
    return build(tmp_path_factory.mktemp("dist"))


def files_below(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def test_every_file_of_the_checkout_is_in_it(built: tuple[Path, Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(ROOT, copy, ignore=NOT_OURS)
    wanted = files_below(copy)
    with tarfile.open(built[0]) as archive:
        files = {member.name.partition("/")[2]: member for member in archive.getmembers() if member.isfile()}
    assert wanted - files.keys() == set()
    own = {name for name in files.keys() - wanted if ".egg-info/" not in name}
    assert own == {"PKG-INFO", "setup.cfg"}
    assert files["npserver"].mode & 0o111 == 0o111, "the launcher can be run"
    assert os.access(ROOT / "npserver", os.X_OK)


def test_the_wheel_has_every_file_of_the_package(built: tuple[Path, Path], tmp_path: Path) -> None:
    """Also those that are not Python: `py.typed`, pages, style sheets."""
    shutil.copytree(ROOT / "src" / "npserver", tmp_path / "npserver", ignore=NOT_OURS)
    with zipfile.ZipFile(built[1]) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == {f"npserver/{name}" for name in files_below(tmp_path / "npserver")}
    assert "npserver/py.typed" in names


def test_the_wheel_describes_itself(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[1]) as archive:
        information = f"npserver-{npserver.__version__}.dist-info"
        metadata = email.message_from_bytes(archive.read(f"{information}/METADATA"))
        assert archive.read(f"{information}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert metadata["Version"] == npserver.__version__
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    description = describe((ROOT / "README.md").read_text())
    assert metadata.get_payload() == description
    assert [link for link in re.findall(r"\]\(([^)]*)\)", description) if not link.startswith("https://")] == []
    assert "[" not in re.sub(r"(?s)```.*?```|`[^`]*`", "", description), "links in all their forms are found"
    pins = set(re.findall(r"(?m)^([\w.-]+)==", (ROOT / "requirements.txt").read_text()))
    required = [
        re.split(r"[<>=;\s]", line)[0] for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line
    ]
    assert len(required) > 10
    assert {name.lower().replace(".", "-") for name in required} - pins == set(), "all are pinned"


@pytest.mark.parametrize(
    ("text", "described"),
    [
        ("see [the docs](docs/a.md#b), or [docs/a.md](docs/a.md).", "see the docs (`docs/a.md#b`), or `docs/a.md`."),
        ("a\n![picture](docs/images/a.svg)\nb", "a\n\nb"),
        ("![a](https://a.example) [b](#c)", "![a](https://a.example) [b](#c)"),
        ("```sh\n[a](b) && x\n```\n[a](b)", "```sh\n[a](b) && x\n```\na (`b`)"),
        ("array[0] (x)", "array[0] (x)"),
    ],
)
def test_paths_of_links_are_told_in_words(text: str, described: str) -> None:
    assert describe(text) == described


def test_the_command_of_the_wheel_answers(
    built: tuple[Path, Path], free_port: Callable[[], int], tmp_path: Path
) -> None:
    """Installed in an environment of its own. The requirements, which pip would fetch, are those of the tests."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], timeout=50, check=True)
    subprocess.run(
        [
            sys.executable, "-m", "pip", "--python", venv / "bin" / "python", "install", "-q", "--no-index",
            "--no-deps", "--no-compile", str(built[1]),
        ],
        cwd=tmp_path, env=environment, timeout=50, check=True,
    )  # fmt: skip
    (packages,) = venv.glob("lib/python3*/site-packages")
    (packages / "requirements.pth").write_text(f"{site.getsitepackages()[0]}\n")
    port = free_port()
    process = subprocess.Popen(
        [venv / "bin" / "npserver", f"http://127.0.0.1:{port}"], cwd=tmp_path, env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        assert process.stderr.readline().startswith(f"npserver {npserver.__version__} ")
        assert b"npserver" in get(port)[1], "the welcome page, a file of the package"
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0
