"""Functions marked `# hot: <workload>` may be written for speed: the workload that shows it exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.workloads import ALL

SOURCE = Path(__file__).parents[2] / "src"
#: `# hot: one-workload, another: what is to be said about it`
MARK = re.compile(r"# hot:\s*([^:\n]*)")

MARKED = [path for path in sorted(SOURCE.rglob("*.py")) if "# hot" in path.read_text()]


@pytest.mark.parametrize("path", MARKED, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_hot_marks_name_workloads(path: Path) -> None:
    text = path.read_text()
    marks = MARK.findall(text)
    assert len(marks) == text.count("# hot"), "write `# hot: <workload>`"
    assert {name.strip() for mark in marks for name in mark.split(",")} - ALL.keys() == set()


def test_there_are_hot_functions() -> None:
    assert len(MARKED) > 10
