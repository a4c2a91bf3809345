"""What `deploy.vendor` collects, without fetching: npserver and the requirements in the environment of the tests."""

from __future__ import annotations

import re
import shutil
import sys
from importlib.metadata import distribution
from pathlib import Path

from deploy.dist import NOT_OURS, ROOT
from deploy.vendor import tag


def collect_installed(tree: Path) -> None:
    """Fill `tree` for this version of Python."""
    shutil.copytree(ROOT / "src" / "npserver", tree / "npserver", ignore=NOT_OURS)
    own = tree / tag(f"3.{sys.version_info[1]}")
    for name in re.findall(r"(?m)^([\w.-]+)==", (ROOT / "requirements.txt").read_text()):
        for file in distribution(name).files or []:
            if ".." not in file.parts and "__pycache__" not in file.parts:
                (own / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(str(file.locate()), own / file)
