"""Collect npserver and its pinned requirements in one directory, for all versions of CPython that it runs on.

What is the same for all versions lies in the directory itself; compiled packages are in `cp311`, `cp312` and so on.
Used by `deploy.single` and `deploy.deb`. For Linux with glibc, on machines like this one.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from deploy.dist import ROOT, build

VERSIONS = ("3.11", "3.12", "3.13", "3.14")
#: Versions of glibc that wheels are made for; the oldest is preferred.
_GLIBC = ("2_17", "2_26", "2_27", "2_28", "2_31", "2_34")


def tag(version: str) -> str:
    """Return the name of the directory of a version: `cp311` for 3.11."""
    return "cp" + version.replace(".", "")


def collect(target: Path, versions: Iterable[str] = VERSIONS) -> None:
    """Fill `target`, which does not exist yet. Every requirement is checked by its hash."""
    with tempfile.TemporaryDirectory() as work:
        parts = {}
        for version in versions:
            parts[version] = Path(work, version)
            _install_requirements(parts[version], version)
        target.mkdir(parents=True)
        _share(list(parts.values()), target)
        for version, part in parts.items():
            shutil.move(part, target / tag(version))
        wheel = build(Path(work, "dist"))[1]
        _pip("install", "--target", str(target), "--no-index", "--no-deps", "--no-compile", str(wheel))
    for scripts in [target / "bin", *target.glob("cp3*/bin")]:  # they name the Python of this machine
        shutil.rmtree(scripts, ignore_errors=True)


def _install_requirements(target: Path, version: str) -> None:
    machine = platform.machine()
    names = [f"manylinux_{glibc}_{machine}" for glibc in _GLIBC]
    wanted = target.with_suffix(".txt")
    wanted.write_text("\n".join(_pins(version)))
    _pip(
        "install", "--target", str(target), "--require-hashes", "--no-deps", "--no-compile", "--only-binary=:all:",
        "--implementation", "cp", "--python-version", version, "--abi", tag(version), "--abi", "abi3", "--abi", "none",
        *(word for name in [f"manylinux2014_{machine}", *names, "any"] for word in ("--platform", name)),
        "-r", str(wanted),
    )  # fmt: skip


def _pins(version: str) -> Iterable[str]:
    """Yield the requirements for a version of Python: pip reads the conditions for its own."""
    from pip._vendor.packaging.markers import Marker

    text = (ROOT / "requirements.txt").read_text().replace("\\\n", " ")
    for line in text.splitlines():
        requirement, _, hashes = line.partition(" --hash")
        name, _, condition = requirement.partition(";")
        if not condition.strip() or Marker(condition.strip()).evaluate({"python_version": version}):
            yield f"{name.strip()} --hash{hashes}"


def _pip(*words: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input", *words]
    subprocess.run(command, check=True)


def _share(parts: list[Path], target: Path) -> None:
    """Move what all parts have and is the same in all of them to `target`."""
    for path in sorted(parts[0].iterdir()):
        copies = [part / path.name for part in parts]
        if len({_digest(copy) for copy in copies}) == 1:
            shutil.move(path, target / path.name)
            for copy in copies[1:]:
                shutil.rmtree(copy) if copy.is_dir() else copy.unlink()


def _digest(path: Path) -> str:
    """Return a hash of a file, or of all files below a directory; "" if there is none."""
    if not path.exists():
        return ""
    whole = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            whole.update(f"{file.relative_to(path)}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()
