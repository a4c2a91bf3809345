"""DNS load by dnsperf."""

from __future__ import annotations

import re
from pathlib import Path

from bench.load import Load, run


def dnsperf(port: int, queries: Path, seconds: float, *, options: list[str] | None = None) -> Load:
    """Send the prepared queries repeatedly, 100 at a time. dnsperf reports only the mean of the latencies."""
    output, _, used = run(
        ["dnsperf", "-s", "127.0.0.1", "-p", str(port), "-d", str(queries), "-c", "16", "-T", "1",
         "-l", str(max(1, round(seconds))), *(options or [])]
    )  # fmt: skip

    def number(label: str) -> float:
        match = re.search(rf"{label}:?\s+([\d.]+)", output)
        return float(match[1]) if match else 0.0

    return Load(
        number("Queries completed"),
        number(r"Run time \(s\)"),
        int(number("Queries lost")),
        p50_us=number(r"Average Latency \(s\)") * 1e6,
        generator_cpu_s=used,
    )
