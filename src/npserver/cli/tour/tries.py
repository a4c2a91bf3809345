"""What the buttons of the demo's page do: requests to npserver, each told as an outcome. Threads call them."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from npserver.cli.tour.clients import (
    Outcome,
    Place,
    ask,
    look_up,
    request,
    run_command,
    send_datagram,
    send_stream,
    shown_request,
)
from npserver.cli.tour.samples import Samples
from npserver.cli.tour.settings import APPS, PASSWORD, USER

Try = Callable[[Place, Samples], Iterable[Outcome]]

DEAD_S = 6.0
GUESSER = "127.0.0.77"  # a client of its own
_GUESSES = 8
_LOG_LINES = 6
_LOGGED_S = 2.0  # for a line of the access log to be written


def _sign_in(password: str) -> dict[str, str]:
    """Return the field of a client that signs in."""
    return {"Authorization": "Basic " + base64.b64encode(f"{USER}:{password}".encode()).decode()}


_GUESS = _sign_in("guess")


def files(place: Place, _: Samples) -> Iterable[Outcome]:
    """Ask for a file, for a part of it, and whether it has changed."""
    path, shown = "/photos/forest.txt", ("Content-Type", "ETag", "Last-Modified", "Content-Range")
    yield ask(place, path, shows=shown, has_body=True)
    tag = request(place, path).header["ETag"]
    yield ask(place, path, {"Range": "bytes=0-6"}, expect=206, shows=shown[3:], has_body=True)
    yield ask(place, path, {"If-None-Match": tag}, expect=304, note="the browser has it already")


def listing(place: Place, _: Samples) -> Iterable[Outcome]:
    """Ask for a directory."""
    yield ask(place, "/photos/", {"Accept": "application/json"}, shows=("Content-Type",), has_body=True)


def compressed(place: Place, _: Samples) -> Iterable[Outcome]:
    """Ask for a file with each coding."""
    for coding in ("identity", "gzip", "br", "zstd"):
        got = request(place, "/style.css", {"Accept-Encoding": coding})
        yield Outcome(
            f"GET /style.css Accept-Encoding: {coding}", f"{len(got.body):,} bytes", got.status == 200, got.took_ms,
            (("Content-Encoding", got.header["Content-Encoding"] or "none"),),
        )  # fmt: skip


def _served_by(place: Place, path: str, fields: dict[str, str] | None = None) -> Outcome:
    got = request(place, path, fields)
    app = json.loads(got.body)["served_by"] if got.status == 200 else ""
    sent = shown_request(path, fields)
    return Outcome(sent, f"{got.status}, by {app}" if app else f"{got.status} {got.phrase}", bool(app), got.took_ms)


def balanced(place: Place, _: Samples) -> Iterable[Outcome]:
    """Ask six times."""
    for _number in range(6):
        yield _served_by(place, "/api/hello")


def sticky(place: Place, _: Samples) -> Iterable[Outcome]:
    """Ask once without a cookie, then with the one that has come."""
    first = request(place, "/shop")
    cookie = (first.header["Set-Cookie"] or "").partition(";")[0]
    app = json.loads(first.body)["served_by"]
    yield Outcome("GET /shop", f"{first.status}, by {app}", bool(cookie), first.took_ms, (("Set-Cookie", cookie),))
    for _number in range(4):
        yield _served_by(place, "/shop", {"Cookie": cookie})


def dead(place: Place, samples: Samples) -> Iterable[Outcome]:
    """Stop an app, and ask eight times."""
    samples.stop_app(APPS[1], DEAD_S)
    yield Outcome(f"{APPS[1]} is stopped", f"for {DEAD_S:g} seconds")
    for _number in range(8):
        yield _served_by(place, "/api/hello")


def drained(place: Place, _: Samples) -> Iterable[Outcome]:
    """Drain an app, ask four times, and use it again."""
    target = f"127.0.0.1:{place.ports[APPS[2]]}"
    yield run_command(place, "drain", target)
    for _number in range(4):
        yield _served_by(place, "/api/hello")
    yield run_command(place, "undrain", target)


def cached(place: Place, _: Samples) -> Iterable[Outcome]:
    """Ask three times."""
    for _number in range(3):
        yield ask(place, "/slow", shows=("Cache-Status", "Age"))


def websocket(place: Place, _: Samples) -> Iterable[Outcome]:
    """Begin a WebSocket, and end it."""
    key = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
           "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}  # fmt: skip
    got = request(place, "/ws/chat", key)
    shown = tuple((name, got.header[name]) for name in ("Upgrade", "Sec-WebSocket-Accept") if got.header[name])
    yield Outcome(
        "GET /ws/chat Upgrade: websocket", f"{got.status} {got.phrase}", got.status == 101, got.took_ms, shown
    )


def scripts(place: Place, _: Samples) -> Iterable[Outcome]:
    """Ask for a script."""
    yield ask(place, "/scripts/hello.php", shows=("Content-Type",), has_body=True)


def limited(place: Place, _: Samples) -> Iterable[Outcome]:
    """Ask more often than the limit allows."""
    for _number in range(8):
        got = request(place, "/limited")
        wait = got.header["Retry-After"]
        fields = (("Retry-After", wait),) if wait else ()
        is_expected = got.status in (200, 429)
        yield Outcome("GET /limited", f"{got.status} {got.phrase}", is_expected, got.took_ms, fields)


def private(place: Place, _: Samples) -> Iterable[Outcome]:
    """Ask without a password, with a wrong one, and with the right one."""
    yield ask(place, "/private", expect=401, shows=("WWW-Authenticate",))
    yield ask(place, "/private", _GUESS, expect=401)
    yield ask(place, "/private", _sign_in(PASSWORD), has_body=True)


def banned(place: Place, _: Samples) -> Iterable[Outcome]:
    """Guess passwords as another client until it is banned, and lift the ban."""
    for _number in range(_GUESSES):
        got = request(place, "/vault", _GUESS, source=GUESSER)
        is_banned = got.status == 403
        sent = f"GET /vault, by {GUESSER} with a wrong password"
        yield Outcome(sent, f"{got.status} {got.phrase}", got.status in (401, 403), got.took_ms)
        if is_banned:
            break
    yield run_command(place, "bans")
    yield run_command(place, "unban", GUESSER)


def fields(place: Place, _: Samples) -> Iterable[Outcome]:
    """Ask for a fixed answer."""
    shown = ("X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy", "Strict-Transport-Security",
             "Permissions-Policy", "Cross-Origin-Opener-Policy")  # fmt: skip
    yield ask(place, "/hello", shows=shown, has_body=True)


def errors(place: Place, _: Samples) -> Iterable[Outcome]:
    """Ask for what is not there, and for what is broken."""
    yield ask(place, "/nowhere", {"Accept": "application/json"}, expect=404, has_body=True)
    yield ask(place, "/broken", {"Accept": "text/plain"}, expect=502, has_body=True)
    yield ask(place, "/broken", {"Accept": "text/html"}, expect=502, shows=("Content-Type", "Content-Security-Policy"))


def redirected(place: Place, _: Samples) -> Iterable[Outcome]:
    """Ask for an old address."""
    yield ask(place, "/old", expect=308, shows=("Location",))


def secure(place: Place, _: Samples) -> Iterable[Outcome]:
    """Ask over TLS."""
    got = request(place, "/hello", over="tls")
    url = f"https://127.0.0.1:{place.ports['tls']}/hello"
    yield Outcome(f"GET {url}", f"{got.status} {got.phrase}", got.status == 200, got.took_ms, (("TLS", got.tls),))


def local(place: Place, _: Samples) -> Iterable[Outcome]:
    """Ask over a Unix socket."""
    yield ask(place, "/hello", over="local", has_body=True)


def log(place: Place, _: Samples) -> Iterable[Outcome]:
    """Send a request, and show the last lines of the access log, without those of the page's buttons."""
    sent = request(place, "/hello?logged")
    yield Outcome("GET /hello?logged", f"{sent.status} {sent.phrase}", sent.status == 200, sent.took_ms)
    ends_at = time.monotonic() + _LOGGED_S
    lines: list[str] = []
    while time.monotonic() < ends_at and not any("/hello?logged" in line for line in lines[-_LOG_LINES:]):
        time.sleep(0.05)  # lines are written a few times a second
        text = Path(f"{place.directory}/access.log").read_text(errors="replace")
        lines = [line for line in text.splitlines() if "/try/" not in line]
    yield Outcome("access.log", f"{len(lines):,} lines", body="\n".join(lines[-_LOG_LINES:]))


def status(place: Place, _: Samples) -> Iterable[Outcome]:
    """Ask for the status as JSON."""
    got = request(place, "/status?format=json")
    told = json.loads(got.body)["targets"]
    lines = [f"{one['target']} of {one['upstream']}: {one['health']}, {one['requests']} requests" for one in told]
    body = "\n".join(line for line, one in zip(lines, told, strict=True) if one["upstream"] != one["target"])
    yield Outcome("GET /status?format=json", f"{got.status} {got.phrase}", got.status == 200, got.took_ms, body=body)


def streamed(listener: str) -> Try:
    """Return what sends data to a listener over TCP."""
    return lambda place, _: [send_stream(place, listener, b"hello")]


def sent(listener: str) -> Try:
    """Return what sends a datagram to a listener."""
    return lambda place, _: [send_datagram(place, listener, b"hello")]


def looked_up(place: Place, _: Samples) -> Iterable[Outcome]:
    """Ask the name server for names that it has, and for one that it has not."""
    yield look_up(place, "app.demo", "A")
    yield look_up(place, "demo", "MX")
    yield look_up(place, "web.demo", "TXT")
    yield look_up(place, "nobody.demo", "A", expect="NXDOMAIN")


def explained(place: Place, _: Samples) -> Iterable[Outcome]:
    """Have a request explained."""
    yield run_command(place, "explain", "-live", f"{place.web}/api/hello")


def checked(place: Place, _: Samples) -> Iterable[Outcome]:
    """Check the config."""
    yield run_command(place, "check")
