"""The single file of `make single`: unpacks itself once for each user, and runs from then on like the launcher.

It is made here of the requirements in the environment of the tests, for their version of Python; nothing is fetched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import npserver
from deploy.single import pack
from tests.stage.asking import get
from tests.stage.bundle import collect_installed
from tests.stage.programs import find

NOBODY = 65534
VERSION = f"npserver {npserver.__version__}\n"
PYTHON = Path(sys.executable).resolve()
NAME = f"python{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file."""
    directory = tmp_path_factory.mktemp("single")
    tree = directory / "tree"
    collect_installed(tree)
    pack(tree, directory / "npserver")
    shutil.rmtree(tree)
    return directory / "npserver"


def environment(home: Path | str, **variables: str) -> dict[str, str]:
    """Return the environment of a user whose PATH has this Python only."""
    return {"HOME": str(home), "PATH": f"{PYTHON.parent}:/usr/bin:/bin", **variables}


def run(*command: object, **options: object) -> tuple[str, str]:
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=50, check=False, **options
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_the_first_start_unpacks_and_later_ones_say_nothing(
    single: Path, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    place = tmp_path / ".cache" / "npserver"
    assert run(single, "-version", env=environment(tmp_path, PYTHONDONTWRITEBYTECODE="1")) == (
        VERSION,
        f"npserver: unpacking into {place} (once)\n",
    )
    assert list(place.glob("*/site-packages/npserver/cli/__pycache__/*.pyc")), "later starts compile nothing"
    assert place.stat().st_mode & 0o777 == 0o700
    assert run(single, "-version", env=environment(tmp_path)) == (VERSION, "")
    (tmp_path / "link").symlink_to(single)
    assert run(tmp_path / "link", "-version", env=environment(tmp_path)) == (VERSION, "")
    port = free_port()
    process = subprocess.Popen(
        [single, f"http://127.0.0.1:{port}"], env=environment(tmp_path), cwd=tmp_path,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("npserver 1")
        assert b"npserver" in get(port)[1]
        command = Path(f"/proc/{process.pid}/environ").read_bytes()
        assert f"PYTHONPATH={place}/npserver_".encode() in command, "it is the unpacked program that runs"
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_first_starts_at_once_unpack_one_after_another(single: Path, tmp_path: Path) -> None:
    starts = [
        subprocess.Popen(
            [single, "-version"], env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for start in starts:
        out, errors = start.communicate(timeout=50)
        assert (start.returncode, out) == (0, VERSION), errors
    (unpacked,) = (path for path in (tmp_path / ".cache" / "npserver").iterdir() if not path.name.startswith("."))
    assert sorted(path.name for path in unpacked.iterdir()) == ["python", "site-packages"]


def test_what_a_killed_start_has_left_is_made_whole(single: Path, tmp_path: Path) -> None:
    run(single, "-version", env=environment(tmp_path))
    (unpacked,) = (path for path in (tmp_path / ".cache" / "npserver").iterdir() if not path.name.startswith("."))
    (unpacked / "python").unlink()
    half = unpacked.with_name(unpacked.name + ".tmp")
    unpacked.rename(half)
    (half / "site-packages" / "npserver" / "__init__.py").write_text("raise SystemExit('half')")
    assert run(single, "-version", env=environment(tmp_path))[0] == VERSION


def test_a_home_that_cannot_be_written_is_done_without(single: Path, tmp_path: Path) -> None:
    out, errors = run(single, "-version", env=environment("/proc", TMPDIR=str(tmp_path)))
    assert (out, errors) == (VERSION, f"npserver: unpacking into {tmp_path}/npserver-cache-{os.geteuid()} (once)\n")
    done = subprocess.run(
        [single, "-version"], env=environment("/proc", TMPDIR="/proc"), capture_output=True, text=True, timeout=50,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "npserver: no directory to unpack into: set XDG_CACHE_HOME to one that can be written\n"


@pytest.mark.skipif(
    os.geteuid() != 0 or not all(one.stat().st_mode & 0o001 for one in PYTHON.parents),
    reason="needs root, and a Python below directories that every user may enter",
)
def test_each_user_has_what_is_unpacked_to_itself(single: Path, socket_dir: Path) -> None:
    socket_dir.chmod(0o1777)
    single = Path(shutil.copy(single, socket_dir))
    own = socket_dir / f"npserver-cache-{NOBODY}"
    own.mkdir()  # by another user, before: that one could put programs there
    variables = environment("/nonexistent", TMPDIR=str(socket_dir))
    done = subprocess.run(
        [single, "-version"], env=variables, user=NOBODY, group=NOBODY, extra_groups=[], cwd="/",
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert (done.returncode, os.listdir(own)) == (1, [])
    own.rmdir()
    run(single, "-version", env=variables, user=NOBODY, group=NOBODY, extra_groups=[], cwd="/")
    assert (own.stat().st_uid, own.stat().st_mode & 0o777) == (NOBODY, 0o700)
    assert (
        run(single, "-version", env=variables)[1] == f"npserver: unpacking into {socket_dir}/npserver-cache-0 (once)\n"
    )


def test_python_runs_it_too(single: Path, tmp_path: Path) -> None:
    assert run(PYTHON, single, "-version", env=environment(tmp_path)) == (VERSION, "")


def test_without_a_fitting_python_it_says_which_one_is_needed(single: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for tool in ("readlink", "id", "mkdir"):
        (tmp_path / "bin" / tool).symlink_to(str(find(tool)))
    (tmp_path / "bin" / "python3").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bin" / "python3").chmod(0o755)
    script = tmp_path / "npserver"
    script.write_bytes(single.read_bytes().replace(b'"/usr/bin/$name" "$name"', b'"/nowhere/$name" "$name"'))
    script.chmod(0o755)
    done = subprocess.run(
        [script, "-version"], env={"HOME": str(tmp_path), "PATH": str(tmp_path / "bin")}, capture_output=True,
        text=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("npserver: Python 3.11 to 3.14 is needed, and none was found")
