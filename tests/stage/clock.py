"""The clock of a program, moved while it runs: what Python's `time.time` returns in all of its processes.

libfaketime, which moves that of the C library as well, breaks `time.sleep`, and keeps threads busy that only wait.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"
_UNITS_S = {"": 1, "m": 60, "h": 3600, "d": 86400}
#: Imported by each Python that finds it. The file holds the seconds by which the clock is ahead.
_SITE = """import os, time

real, file = time.time, os.open({file!r}, os.O_RDONLY | os.O_CLOEXEC)
time.time = lambda: real() + int(os.pread(file, 32, 0))
"""


class Clock:
    """The clock of a program; time between two events is still measured by the real one."""

    def __init__(self, directory: Path) -> None:
        self._file = os.open(directory / "clock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._site = directory / "site"
        self._site.mkdir()
        (self._site / "sitecustomize.py").write_text(_SITE.format(file=str(directory / "clock")))
        self.set("+0")

    def __del__(self) -> None:
        os.close(self._file)

    def set(self, offset: str) -> None:
        """Set the clock ahead of the real one by so much, such as `+23h` or `-3d`."""
        found = re.fullmatch(r"([+-]\d+)([mhd]?)", offset)
        assert found is not None, offset
        os.pwrite(self._file, f"{int(found[1]) * _UNITS_S[found[2]]:+032d}".encode(), 0)  # of one length: at once

    @property
    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": os.pathsep.join((str(SOURCE), str(self._site)))}
