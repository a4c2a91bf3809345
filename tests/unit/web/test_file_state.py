"""Whether an open file has changed."""

from __future__ import annotations

import os
from pathlib import Path

from npserver.web.file_state import is_overwritten


def test_a_file_is_overwritten_unless_it_only_grew(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")
    with path.open("rb") as file:
        before = os.fstat(file.fileno())
        later = (before.st_atime_ns, before.st_mtime_ns + 1)
        assert not is_overwritten(file.fileno(), before)
        with path.open("ab") as other:
            other.write(b"more")
        os.utime(path, ns=later)
        assert not is_overwritten(file.fileno(), before), "it grew"
        os.truncate(path, 10)
        os.utime(path, ns=later)
        assert is_overwritten(file.fileno(), before), "same size, another time"
        os.truncate(path, 5)
        os.utime(path, ns=later)
        assert is_overwritten(file.fileno(), before), "it shrank"
