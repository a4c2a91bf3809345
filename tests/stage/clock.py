"""The clock of a program, moved while it runs. Tests that use it are marked `@needs("faketime")`."""

from __future__ import annotations

from pathlib import Path


class Clock:
    """The clock of a program, by libfaketime; time between two events is still measured by the real one."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "clock"
        self.set("+0")

    def set(self, offset: str) -> None:
        """Move the clock by so much, such as `+23h`, from now."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{offset}\n")
        fresh.replace(self._file)

    @property
    def environment(self) -> dict[str, str]:
        (library,) = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
