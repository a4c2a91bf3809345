"""HTTP load: wrk sends as much as the server takes, h2load sends at a given rate."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

from bench.load import Load, run

WARM_UP_REQUESTS = 500
STREAMS = 2000  # requests of one connection over HTTP/3
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


def h2load(
    url: str,
    seconds: float,
    *,
    connections: int = 16,
    streams: int = 10,
    arguments: tuple[str, ...] = (),
    urls: Path | None = None,
) -> Load:
    """Request `url` repeatedly over HTTP/2, with that many streams at once on each connection.

    `urls`: a file of others to request in turn, of the server of `url`.
    """
    if seconds < 1:
        amount = [f"-n{WARM_UP_REQUESTS}"]
    else:
        amount = [f"-D{round(seconds)}"]
    what = [url] if urls is None else [f"--input-file={urls}", f"--base={url}"]
    output, took, used = run(["h2load", "-t1", f"-c{connections}", f"-m{streams}", *amount, *arguments, *what])
    numbers = re.search(r"(\d+) done, (\d+) succeeded, (\d+) failed", output)
    finished = re.search(r"finished in ([\d.]+)(m?s|us)", output)
    if numbers is None or finished is None:
        raise RuntimeError(f"h2load said {output[-2000:]}")
    took = float(finished[1]) * {"s": 1.0, "ms": 1e-3, "us": 1e-6}[finished[2]]
    return Load(int(numbers[2]), took, int(numbers[3]), generator_cpu_s=used)


def gtlsclient(url: str, seconds: float) -> Load:
    """Request `url` repeatedly over HTTP/3, on one connection after another, as often as its client can at once."""
    host, _, port = url.removeprefix("https://").partition("/")[0].partition(":")
    command = ["gtlsclient", "-q", "--exit-on-all-streams-close", "--no-quic-dump", "--no-http-dump"]
    count, took, used = 0, 0.0, 0.0
    while took < seconds:
        _, more, cpu = run([*command, f"-n{STREAMS}", host, port, url])
        count, took, used = count + STREAMS, took + more, used + cpu
    return Load(count, took, generator_cpu_s=used)


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
