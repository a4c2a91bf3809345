"""Build the single file: `python -m deploy.single [FILE]`, by default `dist/npserver-VERSION-MACHINE`.

The file is a zip made by shiv, with a shell script before it. At the first start shiv unpacks it into a directory of
the user's; from then on the script runs Python on what is there, and reads no zip.
"""

from __future__ import annotations

import io
import json
import os
import platform
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from deploy.dist import EPOCH
from deploy.vendor import collect
from npserver import __version__

HERE = Path(__file__).parent


def build(file: Path) -> None:
    """Build the single file at `file`."""
    with tempfile.TemporaryDirectory() as work:
        collect(Path(work, "tree"))
        pack(Path(work, "tree"), file)


def pack(tree: Path, file: Path) -> None:
    """Make the single file of what `deploy.vendor` has collected; `tree` gets the module that starts it."""
    (tree / "npserver_single.py").write_text((HERE / "single_start.py").read_text())
    with tempfile.TemporaryDirectory() as work:
        packed = Path(work, "packed")
        subprocess.run(
            [
                sys.executable, "-W", "ignore", "-m", "shiv", "--site-packages", str(tree), "-o", str(packed),
                "-e", "npserver_single:main", "--reproducible", "--root", "~/.cache/npserver", "-p", "/bin/sh",
            ],
            env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH}, check=True,
        )  # fmt: skip
        archive = packed.read_bytes().partition(b"\n")[2]  # without its first line
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(_script(archive) + archive)
    file.chmod(0o755)


def _script(archive: bytes) -> bytes:
    """Return the script that comes first, for this archive."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        build_id = json.loads(opened.read("environment.json"))["build_id"]
    return (HERE / "single_start.sh").read_bytes().replace(b"@BUILD_ID@", build_id.encode())


def default_file() -> Path:
    """Return where the file is built if no other place is said."""
    return Path("dist", f"npserver-{__version__}-{platform.machine()}")


if __name__ == "__main__":
    path = Path(sys.argv[1]) if sys.argv[1:] else default_file()
    build(path)
    print(path)
