"""Files, certificates, zones and prepared requests, which the servers serve and the clients ask for.

All of it is drawn from a fixed seed, so that every run and every peer sees the same.
"""

from __future__ import annotations

import json
import random
import subprocess
from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from bench.machine import RUN

FOLDER = RUN / "material"
SITE = FOLDER / "site"
GRPC = FOLDER / "grpc"  # answers of calls by their paths, and `call`, the message that is sent
SEED = 20_261_101

VARIED_FILES = 1000
SCRIPTS = 600  # each asked for once, where compressing for the first time is measured
LARGE_BYTES = 100 << 20
DNS_NAMES = 1000
REQUESTS = 20_000
ROUTED_PATHS = 10_000

USER_AGENTS = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 26_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
    "Mozilla/5.0 (Linux; Android 16; Pixel 10) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "curl/8.16.0",
    "Googlebot/2.1 (+http://www.google.com/bot.html)",
]
ENCODINGS = ["gzip, deflate, br, zstd", "gzip, deflate, br", "gzip, deflate", "gzip", "identity", "*"]
LANGUAGES = ["en-US,en;q=0.9", "de-DE,de;q=0.9,en;q=0.8", "fr", "ja,en-US;q=0.7,en;q=0.3"]


def prepare() -> None:
    """Make the files that are missing."""
    _page()
    _calls()
    marker = FOLDER / f"made-{SEED}"
    if marker.exists():
        return
    SITE.mkdir(parents=True, exist_ok=True)
    rng = random.Random(SEED)
    _files(rng)
    _certificate()
    (FOLDER / "requests-static").write_bytes(requests(rng, [f"/varied/{n:04}.bin" for n in range(VARIED_FILES)]))
    (FOLDER / "requests-proxy").write_bytes(
        requests(rng, [f"/api/items/{n}?page={n % 7}" for n in range(VARIED_FILES)])
    )
    _dns(rng)
    marker.touch()


def _files(rng: random.Random) -> None:
    (SITE / "index.html").write_text("<!doctype html><title>bench</title>\n")
    (SITE / "small.html").write_bytes(b"x" * 1024)
    (SITE / "megabyte.bin").write_bytes(rng.randbytes(1 << 20))
    with (SITE / "large.bin").open("wb") as file:
        for _ in range(LARGE_BYTES >> 20):
            file.write(rng.randbytes(1 << 20))
    (SITE / "varied").mkdir(exist_ok=True)
    for number in range(VARIED_FILES):
        (SITE / "varied" / f"{number:04}.bin").write_bytes(rng.randbytes(rng.randint(1 << 10, 20 << 10)))
    lines = [_line_of_script(rng) for _ in range(4000)]
    (SITE / "script.js").write_text(_script(rng, lines))
    (SITE / "scripts").mkdir(exist_ok=True)
    for number in range(SCRIPTS):
        (SITE / "scripts" / f"{number:04}.js").write_text(_script(rng, lines))


def _calls() -> None:
    """Write the messages of a call, with the prefix that gRPC gives each."""
    message = b"\0" + (100).to_bytes(4, "big") + b"m" * 100
    (GRPC / "bench.Calls").mkdir(parents=True, exist_ok=True)
    (GRPC / "bench.Calls" / "Unary").write_bytes(message)
    (GRPC / "call").write_bytes(message)


def _page() -> None:
    """Make the page whose compression is measured, and a script; they came later, and the others stay as they are."""
    page = SITE / "page.txt"
    SITE.mkdir(parents=True, exist_ok=True)
    (SITE / "index.php").touch()
    if not page.exists():
        rng = random.Random(SEED)
        page.write_text(_script(rng, [_line_of_script(rng) for _ in range(4000)])[: 100 << 10])


def _line_of_script(rng: random.Random) -> str:
    words = ("function", "return", "const", "let", "value", "index", "result", "element", "document", "window", "event")
    name = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=6))
    return (
        f"  {rng.choice(words)} {name}{rng.randrange(100)} = {rng.choice(words)}({rng.randrange(10_000)}, '{name}');\n"
    )


def _script(rng: random.Random, lines: Sequence[str]) -> str:
    return "".join(rng.choices(lines, k=5000))[: 200 << 10]


def _certificate() -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "3650", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", str(FOLDER / "key.pem"), "-out", str(FOLDER / "cert.pem")],
        check=True, capture_output=True,
    )  # fmt: skip


def requests(rng: random.Random, paths: Sequence[str]) -> bytes:
    """Return whole request heads: popular paths often (Zipf), fields of different browsers, and cookies.

    Each is followed by a zero byte, as `load/wrk.lua` reads them.
    """
    weights = list(accumulate(1 / rank for rank in range(1, len(paths) + 1)))
    order = rng.sample(paths, len(paths))
    made = []
    for _ in range(REQUESTS):
        path = order[bisect(weights, rng.random() * weights[-1])]
        made.append(
            f"GET {path} HTTP/1.1\r\nHost: bench.test\r\nUser-Agent: {rng.choice(USER_AGENTS)}\r\n"
            f"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
            f"Accept-Language: {rng.choice(LANGUAGES)}\r\nAccept-Encoding: {rng.choice(ENCODINGS)}\r\n"
            f"Cookie: session={rng.getrandbits(128):032x}; theme={rng.choice(('dark', 'light'))}\r\n\r\n\0".encode()
        )
    return b"".join(made)


def varied_urls() -> Path:
    """Return the file of the URLs of the varied requests, a line each, which a query tells apart."""
    path = FOLDER / "urls-static"
    if not path.exists():
        heads = (FOLDER / "requests-static").read_text().split("\0")[:-1]
        urls = [f"https://bench.test{head.split(' ', 2)[1]}?{number}\n" for number, head in enumerate(heads)]
        path.write_text("".join(urls))
    return path


def routed_requests(count: int) -> Path:
    """Return the file of requests for `count` rules; the number of different paths does not depend on `count`."""
    path = FOLDER / f"requests-of-{ROUTED_PATHS}-paths-by-{count}-rules"
    if not path.exists():
        rng = random.Random(SEED)
        numbers = [rng.randrange(ROUTED_PATHS) for _ in range(REQUESTS)]
        heads = [f"GET /r{n % count}/{n // count} HTTP/1.1\r\nHost: bench.test\r\n\r\n\0" for n in numbers]
        path.write_text("".join(heads), newline="")
    return path


def zone(count: int) -> Path:
    """Return the zone file with `count` names, each with an address."""
    path = FOLDER / f"bench-{count}.zone"
    if not path.exists():
        names = "".join(f"host{n} A 10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}\n" for n in range(count))
        path.write_text(
            "$ORIGIN bench.test.\n$TTL 300\n@ SOA ns admin 1 3600 900 604800 300\n@ NS ns\nns A 127.0.0.1\n" + names
        )
    return path


def records(count: int) -> str:
    """Return the same zone as the value of npserver's `dns`."""
    zone: dict[str, object] = {"bench.test": {"NS": "ns.bench.test"}, "ns.bench.test": {"A": "127.0.0.1"}}
    for n in range(count):
        zone[f"host{n}.bench.test"] = {"A": f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}"}
    return json.dumps(zone)


def block_list(count: int) -> Path:
    """Return a hosts file of `count` names."""
    path = FOLDER / f"hosts-{count}"
    if not path.exists():
        names = "".join(f"0.0.0.0 a{n:x}.ads{n % 5000}.example\n" for n in range(count))
        path.write_text("127.0.0.1 localhost\n" + names)
    return path


def _dns(rng: random.Random) -> None:
    hits = [f"host{rng.randrange(DNS_NAMES)}.bench.test A\n" for _ in range(20_000)]
    (FOLDER / "queries-hits").write_text("".join(hits))
    cased = ["".join(rng.choice((str.upper, str.lower))(c) for c in line.split()[0]) + " A\n" for line in hits]
    (FOLDER / "queries-cased").write_text("".join(cased))
    # Many more than a server would remember, so that none comes twice while it is still remembered.
    (FOLDER / "queries-missing").write_text(
        "".join(f"nx{rng.getrandbits(48):012x}.bench.test A\n" for _ in range(400_000))
    )
    (FOLDER / "queries-many").write_text(
        "".join(f"host{rng.randrange(100_000)}.bench.test A\n" for _ in range(200_000))
    )
