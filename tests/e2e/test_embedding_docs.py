"""The Python examples of README and docs/embedding.md run when they are pasted."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.stage.program import ROOT

_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLES = _BLOCK.findall((ROOT / "docs" / "embedding.md").read_text(encoding="utf-8"))
OUTPUTS = [
    r"hello from 127\.0\.0\.1\n",
    r"config:\d+:\d+: unknown key 'dispach' in the config; did you mean 'dispatch'\?\n",
    r"data\n",
]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "src")}


@pytest.mark.parametrize(("text", "output"), list(zip(EXAMPLES, OUTPUTS, strict=True)))
def test_an_example_of_embedding(tmp_path: Path, text: str, output: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=30,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(output, done.stdout)


def test_the_example_of_the_readme(tmp_path: Path) -> None:
    (text,) = _BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    with subprocess.Popen(
        [sys.executable, "-c", text], cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            with urllib.request.urlopen(process.stdout.readline().strip(), timeout=30) as response:
                assert response.read() == b"hello"
        finally:
            process.kill()
