"""Small files, and nothing in them that is of one machine or one moment."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
LONGEST = 400  # lines of a source file; HOUSE.md aims at 150
FULLEST = 25  # modules of a package

FORBIDDEN = {
    "a note to self": re.compile(rb"\b(?:TODO|FIXME|XXX)\b"),
    "a package index": re.compile(rb"--(?:extra-)?index-url|--find-links|pypi\.org|pythonhosted\.org|file:///opt"),
    "a path of one machine": re.compile(rb"(?<![\w./-])/(?:work|tmp/w|home/\w+|root)/"),
    "a merge left over": re.compile(rb"^(?:<{7}|>{7}) ", re.MULTILINE),
}


def tracked() -> list[Path]:
    """All files of the project: what git knows, or what lies here when there is no git."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
        return [path for name in listed.decode().split("\0") if name and (path := ROOT / name).is_file()]
    except (OSError, subprocess.CalledProcessError):
        return [path for top in ("src", "tests", "docs", "bench") for path in (ROOT / top).rglob("*.*")]


FILES = tracked()


def test_there_are_files() -> None:
    assert len(FILES) > 20


def test_modules_are_small() -> None:
    lines = {path: len(path.read_bytes().splitlines()) for path in FILES if path.suffix == ".py"}
    long = {str(path.relative_to(ROOT)): number for path, number in lines.items() if number > LONGEST}
    assert long == {}, "what two things is it?"


def test_packages_are_small() -> None:
    modules = Counter(path.parent for path in FILES if path.suffix == ".py" and path.is_relative_to(ROOT / "src"))
    assert modules
    full = {str(folder.relative_to(ROOT)): number for folder, number in modules.items() if number > FULLEST}
    assert full == {}, "what packages is it?"


def test_nothing_is_left_behind() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {what}: {match[0].decode()}"
        for path in FILES
        if path != Path(__file__) and path.suffix != ".png"  # compressed: any three letters are in one by chance
        for what, pattern in FORBIDDEN.items()
        if (match := pattern.search(path.read_bytes()))
    ]
    assert found == []
