"""The launcher in the root: makes `.venv` once from the pins, whoever starts it from wherever.

It runs here in a directory of its own with pins that need no network and a stand-in for the program.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.stage.program import ROOT

#: The newest Python of the system, by its name with the version.
SYSTEM_PYTHON = next((f"python3.{n}" for n in (14, 13, 12, 11) if Path(f"/usr/bin/python3.{n}").exists()), "")
PROGRAM = """\
import os, sys
packages = [path.split("/lib/")[0] for path in sys.path if path.endswith("site-packages")]
print(os.getcwd(), sys.argv[1:], *packages if sys.executable.startswith(packages[0]) else [])
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with its `.venv` made."""
    directory = tmp_path_factory.mktemp("check out")
    shutil.copy(ROOT / "npserver", directory)
    (directory / "requirements.txt").write_text("# nothing\n")
    package = directory / "src" / "npserver"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(PROGRAM)
    return directory


def launch(
    checkout: Path, *words: str, cwd: Path | None = None, path: str | None = None, start_new_session: bool = False
) -> subprocess.Popen[str]:
    python = Path(sys.executable).resolve().parent
    return subprocess.Popen(
        [str(checkout / "npserver"), *words],
        cwd=cwd or checkout,
        env={"PATH": path or f"{python}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=start_new_session,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    out, err = process.communicate(timeout=50)
    assert process.returncode == 0, err
    return out, err


@pytest.fixture(scope="module")
def misleading(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with modules that must not be taken from it."""
    directory = tmp_path_factory.mktemp("misleading")
    for name in ("os.py", "npserver.py", "signal.py"):
        (directory / name).write_text("raise SystemExit('taken from the working directory')\n")
    return directory


def test_first_starts_at_once_make_one_environment(checkout: Path, misleading: Path) -> None:
    starts = [launch(checkout, "a b", "-c", cwd=misleading) for _ in range(3)]
    done = [finish(start) for start in starts]
    for out, _ in done:
        assert out == f"{misleading} ['a b', '-c'] {checkout}/.venv\n"
    said = [line for _, err in done for line in err.splitlines()]
    assert len([line for line in said if line.startswith("npserver: making .venv with ")]) == 1
    assert len([line for line in said if "waiting for another start" in line]) <= 2
    assert sorted(path.name for path in checkout.iterdir()) == [".venv", "npserver", "requirements.txt", "src"]


def test_later_starts_say_nothing(checkout: Path) -> None:
    finish(launch(checkout))
    assert finish(launch(checkout))[1] == ""


def test_it_starts_through_links_from_elsewhere(checkout: Path, tmp_path: Path) -> None:
    finish(launch(checkout))
    (tmp_path / "bin").mkdir()
    (tmp_path / "absolute").symlink_to(checkout / "npserver")
    (tmp_path / "bin" / "npserver").symlink_to("../absolute")
    out, err = finish(launch(tmp_path / "bin", cwd=tmp_path))
    assert out == f"{tmp_path} [] {checkout}/.venv\n"
    assert err == ""


def test_an_upgrade_starts_it_by_the_name_that_was_used(checkout: Path, tmp_path: Path) -> None:
    """Not by the checkout to which links led at the start: they may lead to another one by then."""
    main = checkout / "src" / "npserver" / "__main__.py"
    main.write_text("import os; print(os.environ['NPSERVER_LAUNCHER'])")
    try:
        (tmp_path / "npserver").symlink_to(checkout / "npserver")
        assert finish(launch(tmp_path))[0] == f"{tmp_path}/npserver\n"
        relative = subprocess.run(["./npserver"], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert relative.stdout == f"{tmp_path}/./npserver\n"
    finally:
        main.write_text(PROGRAM)


def test_modules_of_the_working_directory_are_not_taken(checkout: Path, misleading: Path) -> None:
    """Nor when `.venv` is made: the first test makes it from there."""
    finish(launch(checkout))
    assert finish(launch(checkout, cwd=misleading))[0].startswith(str(misleading))


def test_changed_pins_bring_it_up_to_date_once(checkout: Path) -> None:
    finish(launch(checkout))
    (checkout / "requirements.txt").write_text("# nothing new\n")
    assert finish(launch(checkout))[1] == "npserver: bringing .venv up to date (once)\n"
    assert finish(launch(checkout))[1] == ""


def test_lock_of_a_dead_start_is_taken_over(checkout: Path) -> None:
    finish(launch(checkout))
    dead = subprocess.Popen(["true"])
    dead.wait()
    (checkout / ".venv.lock").mkdir()
    (checkout / ".venv.lock" / "pid").write_text(f"{dead.pid}\n")
    (checkout / "requirements.txt").write_text("# other\n")
    assert finish(launch(checkout))[1] == "npserver: bringing .venv up to date (once)\n"
    assert not (checkout / ".venv.lock").exists()


def test_failed_pins_are_tried_again(checkout: Path) -> None:
    finish(launch(checkout))
    (checkout / "requirements.txt").write_text("not a requirement at all\n")
    start = launch(checkout)
    said = start.communicate(timeout=50)[1]
    assert "could not install the requirements" in said
    assert "npserver:   python3 -m pip download --require-hashes -r requirements.txt -d wheels\n" in said
    assert f"and copy the directory wheels to {checkout}\n" in said
    assert start.returncode == 1
    (checkout / "requirements.txt").write_text("# right again\n")
    assert finish(launch(checkout))[1] == "npserver: bringing .venv up to date (once)\n"


def test_without_network_the_wheels_are_taken_from_a_directory(checkout: Path) -> None:
    finish(launch(checkout))
    wheel = checkout / "wheels" / "npserver_tiny-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    info = "npserver_tiny-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("npserver_tiny.py", "")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: npserver-tiny\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    pin = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (checkout / "requirements.txt").write_text(f"npserver-tiny==1.0 --hash=sha256:{pin}\n")
    try:
        assert finish(launch(checkout))[1] == "npserver: bringing .venv up to date (once)\n"
        assert list((checkout / ".venv").glob("lib/*/site-packages/npserver_tiny.py"))
    finally:
        shutil.rmtree(wheel.parent)
        (checkout / "requirements.txt").write_text("# nothing\n")


@pytest.mark.skipif(not SYSTEM_PYTHON, reason="needs a system with Python 3.11 or newer (apt-get install python3)")
def test_the_systems_python_is_preferred(checkout: Path, tmp_path: Path) -> None:
    """Of the same version, though another one comes first in PATH."""
    shutil.copy(checkout / "npserver", tmp_path)
    shutil.copy(checkout / "requirements.txt", tmp_path)
    (tmp_path / "src").symlink_to(checkout / "src")
    mine = tmp_path / SYSTEM_PYTHON
    mine.write_text(f'#!/bin/sh\ntouch {tmp_path}/asked\nexec /usr/bin/{SYSTEM_PYTHON} "$@"\n')
    mine.chmod(0o755)
    start = launch(tmp_path, path=f"{tmp_path}:/usr/bin:/bin", start_new_session=True)
    try:
        assert start.stderr is not None
        assert "making .venv with /usr/bin/python3" in start.stderr.readline()
    finally:
        os.killpg(start.pid, signal.SIGKILL)  # it has chosen
        start.communicate(timeout=50)
    assert not (tmp_path / "asked").exists()


def test_a_system_without_python_is_told_what_to_install(checkout: Path, tmp_path: Path) -> None:
    """Only the tools of a bare system are there."""
    bare, other = tmp_path / "tools", tmp_path / "other"
    bare.mkdir()
    other.mkdir()
    shutil.copy(checkout / "npserver", other)
    shutil.copy(checkout / "requirements.txt", other)
    for tool in ("sh", "cksum", "readlink", "mkdir", "rm", "mv", "cat", "sleep"):
        found = shutil.which(tool)
        assert found is not None
        (bare / tool).symlink_to(found)
    start = launch(other, path=str(bare))
    assert start.communicate(timeout=50)[1] == (
        "npserver: Python 3.11 or newer is needed, and none was found: "
        "install it from your system's packages or python.org\n"
    )
    assert start.returncode == 1
    assert not (other / ".venv.lock").exists()
