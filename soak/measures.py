"""Memory and descriptors of the server's processes, and whether they grow."""

from __future__ import annotations

import time
from pathlib import Path

from tests.stage.upgrading import tree

MAX_KIB_PER_MINUTE = 2048.0  # of all processes together
MAX_DESCRIPTORS_PER_MINUTE = 5.0


class Measures:
    """What was measured, of the same processes from the first measurement to the last."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._memory: list[float] = []  # KiB, proportional (PSS)
        self._descriptors: list[float] = []
        self._reloads: list[float] = []  # until then

    def take(self, pid: int, reloads: int) -> None:
        """Measure a master and its children, after so many reloads."""
        memory = descriptors = 0
        for one in tree(pid):
            text = Path(f"/proc/{one}/smaps_rollup").read_text()
            memory += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
            descriptors += len(list(Path(f"/proc/{one}/fd").iterdir()))
        self._times.append(time.monotonic())
        self._memory.append(memory)
        self._descriptors.append(descriptors)
        self._reloads.append(reloads)

    def report(self, *, is_judged: bool) -> bool:
        """Print the slopes. Return whether they are too steep; a short run is not judged."""
        if len(self._times) < 3:
            return False
        memory, descriptors = slope(self._times, self._memory), slope(self._times, self._descriptors)
        span_s = self._times[-1] - self._times[0]
        reloads = self._reloads[-1] - self._reloads[0]
        by_reloads = slope(self._reloads, self._memory) if reloads else 0.0
        ends = min(self._memory) / 1024, max(self._memory) / 1024
        print(
            f"memory {self._memory[-1] / 1024:.1f} MiB ({ends[0]:.1f} to {ends[1]:.1f}), "
            f"{memory * 3600 / 1024:+.2f} MiB per hour, {by_reloads * 100 / 1024:+.2f} MiB per 100 reloads; "
            f"descriptors {self._descriptors[-1]:.0f} ({min(self._descriptors):.0f} to {max(self._descriptors):.0f}), "
            f"{descriptors * 3600:+.1f} per hour; over the last {span_s:.0f} s with {reloads:.0f} reloads"
        )
        return is_judged and (memory * 60 > MAX_KIB_PER_MINUTE or descriptors * 60 > MAX_DESCRIPTORS_PER_MINUTE)


def slope(times: list[float], values: list[float]) -> float:
    """Return the slope by least squares, per second."""
    middle, mean = sum(times) / len(times), sum(values) / len(values)
    spread = sum((one - middle) ** 2 for one in times)
    return sum((at - middle) * (value - mean) for at, value in zip(times, values, strict=True)) / spread
