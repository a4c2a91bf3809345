"""HTTP load: wrk sends as much as the server takes, h2load sends at a given rate."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from bench.load import Load, run

WARM_UP_REQUESTS = 500
SCRIPT = Path(__file__).with_name("wrk.lua")


def wrk(
    url: str,
    seconds: float,
    *,
    connections: int = 32,
    fields: dict[str, str] | None = None,
    requests: Path | None = None,
) -> Load:
    """Request `url` repeatedly, or the prepared `requests` in turn."""
    if seconds < 1:  # a warm-up; wrk knows whole seconds only
        return _some(url)
    arguments = [f"-H{name}: {value}" for name, value in (fields or {}).items()]
    output, _, used = run(
        [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{max(1, round(seconds))}s",
            "--latency",
            "-s",
            str(SCRIPT),
            *arguments,
            url,
        ],
        {"REQUESTS": str(requests)} if requests else None,
    )
    found = json.loads(output.rpartition("JSON")[2])
    return Load(
        found["requests"],
        found["seconds"],
        found["errors"],
        found["p50_us"],
        found["p99_us"],
        generator_cpu_s=used,
        size=found["bytes"] / max(found["requests"], 1),
    )


def _some(url: str) -> Load:
    _, took, used = run(["h2load", "--h1", "-t1", "-c8", f"-n{WARM_UP_REQUESTS}", url])
    return Load(WARM_UP_REQUESTS, took, generator_cpu_s=used)


def steady(url: str, seconds: float, rate: float, connections: int = 32) -> Load:
    """Send `rate` requests a second, whatever the server does, and measure their latencies."""
    per_client = max(1, round(rate / connections))
    with tempfile.NamedTemporaryFile() as log:
        _, took, used = run(
            ["h2load", "--h1", "-t1", f"-c{connections}", f"-D{max(1, round(seconds))}", f"--rps={per_client}",
             f"--log-file={log.name}", url]
        )  # fmt: skip
        rows = [line.split() for line in Path(log.name).read_text().splitlines()]
    times = sorted(int(row[2]) for row in rows)
    errors = sum(row[1] != "200" for row in rows)
    return Load(len(times), took, errors, times[len(times) // 2], times[len(times) * 99 // 100], used)
