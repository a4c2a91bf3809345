"""The forms of an access log line: `pretty` for people, `json` for programs, `combined` for log analysers.

Each form is a class with a method per kind of event that gives a line with its line feed, or nothing where the form has
no way to say it. Whatever a client chose is escaped, see `observe.escape`. Made by `observe.accesslog`.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Protocol

import msgspec

from npserver.observe.escape import escape_control, escape_quoted

if TYPE_CHECKING:
    from npserver.http.message import Request


class Format(Protocol):
    """What a form of the log can say. All times are spans in seconds, all sizes bytes."""

    def request(
        self, client_ip: str, request: Request, scheme: str, status: int, received: int, sent: int,
        duration_s: float, upstream: str, request_id: str, user: str,
    ) -> str:  # fmt: skip
        """Describe an exchange."""

    def session(
        self, kind: str, listener: str, client: str, target: str, received: int, sent: int, duration_s: float,
        reason: str,
    ) -> str:  # fmt: skip
        """Describe a forwarded connection or session."""

    def query(self, transport: str, client: str, name: str, type: str, rcode: str) -> str:
        """Describe a DNS query."""


class Clock:
    """The time as text, made once a second."""

    __slots__ = ("_form", "_is_utc", "_second", "_text")

    def __init__(self, form: str, *, is_utc: bool = False) -> None:
        self._form = form
        self._is_utc = is_utc
        self._second = -1
        self._text = ""

    def text(self, now: float) -> str:
        """The second of `now` (of `time.time()`)."""
        second = int(now)
        if second != self._second:
            self._second = second
            self._text = time.strftime(self._form, time.gmtime(second) if self._is_utc else time.localtime(second))
        return self._text


class Pretty:
    """`16:07:01 203.0.113.9 GET example.com/a 200 1.2 KB 0.4 ms -> http://127.0.0.1:8001`."""

    def __init__(self, is_coloured: bool) -> None:
        self._clock = Clock("\x1b[2m%H:%M:%S\x1b[0m" if is_coloured else "%H:%M:%S")
        self._statuses = {status: _coloured(status) if is_coloured else str(status) for status in range(100, 600)}

    def request(
        self, client_ip: str, request: Request, scheme: str, status: int, received: int, sent: int,
        duration_s: float, upstream: str, request_id: str, user: str,
    ) -> str:  # fmt: skip
        """Describe an exchange."""
        # hot: access-log
        target = request.target
        if target.startswith("/"):
            target = request.authority + target
        return "%s %s%s %s %s %s %s%s %.1f ms%s\n" % (  # noqa: UP031 - faster than an f-string of calls
            self._clock.text(time.time()), client_ip, f" {escape_control(user)}" if user else "",
            request.method, target if target.isprintable() else escape_control(target),
            self._statuses.get(status, status),
            f"{size(received)} in, " if received else "", size(sent), duration_s * 1000,
            f" -> {upstream}" if upstream else "",
        )  # fmt: skip

    def session(
        self, kind: str, listener: str, client: str, target: str, received: int, sent: int, duration_s: float,
        reason: str,
    ) -> str:  # fmt: skip
        """Describe a forwarded connection or session."""
        clock = self._clock.text(time.time())
        tail = f" ({escape_control(reason)})" if reason else ""
        bytes_moved = f"{size(received)} in, {size(sent)} out"
        return f"{clock} {client} {kind} {listener} -> {target or '-'} {bytes_moved}, {duration_s:.1f} s{tail}\n"

    def query(self, transport: str, client: str, name: str, type: str, rcode: str) -> str:
        """Describe a DNS query."""
        return f"{self._clock.text(time.time())} {client} dns {transport} {escape_control(name)} {type} {rcode}\n"


class Json:
    """One object per line; the time is RFC 3339 in UTC, `duration_ms` has three decimals."""

    def __init__(self, is_coloured: bool) -> None:
        self._clock = Clock("%Y-%m-%dT%H:%M:%S", is_utc=True)

    def request(
        self, client_ip: str, request: Request, scheme: str, status: int, received: int, sent: int,
        duration_s: float, upstream: str, request_id: str, user: str,
    ) -> str:  # fmt: skip
        """Describe an exchange."""
        fields = request.fields
        return self._line({
            "type": "request", "client_ip": client_ip, "method": request.method, "scheme": scheme,
            "host": request.authority, "target": request.target, "protocol": f"HTTP/1.{request.minor_version}",
            "status": status, "received_bytes": received, "sent_bytes": sent,
            "duration_ms": round(duration_s * 1000, 3), "upstream": upstream, "request_id": request_id, "user": user,
            "referer": fields.get(b"referer", b"").decode("latin-1"),
            "user_agent": fields.get(b"user-agent", b"").decode("latin-1"),
        })  # fmt: skip

    def session(
        self, kind: str, listener: str, client: str, target: str, received: int, sent: int, duration_s: float,
        reason: str,
    ) -> str:  # fmt: skip
        """Describe a forwarded connection or session."""
        return self._line({
            "type": "session", "kind": kind, "listener": listener, "client": client, "target": target,
            "received_bytes": received, "sent_bytes": sent, "duration_ms": round(duration_s * 1000, 3),
            "reason": reason,
        })  # fmt: skip

    def query(self, transport: str, client: str, name: str, type: str, rcode: str) -> str:
        """Describe a DNS query."""
        return self._line({
            "type": "query", "transport": transport, "client": client, "name": name, "qtype": type, "rcode": rcode
        })  # fmt: skip

    def _line(self, entry: dict[str, object]) -> str:
        now = time.time()
        stamped = {"time": f"{self._clock.text(now)}.{int(now % 1 * 1000):03}Z", **entry}
        try:
            text = msgspec.json.encode(stamped)
        except UnicodeEncodeError:  # a lone surrogate
            text = b"\xff"
        # Terminals obey the C1 controls U+0080..U+009F too, so what is not ASCII is written as \uNNNN.
        return (text.decode() if text.isascii() else json.dumps(stamped)) + "\n"


class Combined:
    """The Apache and nginx form, for HTTP alone: what is no HTTP request has no line."""

    def __init__(self, is_coloured: bool) -> None:
        self._clock = Clock("%d/%b/%Y:%H:%M:%S %z")

    def request(
        self, client_ip: str, request: Request, scheme: str, status: int, received: int, sent: int,
        duration_s: float, upstream: str, request_id: str, user: str,
    ) -> str:  # fmt: skip
        """Describe an exchange."""
        # hot: access-log
        fields = request.fields
        return '%s - %s [%s] "%s %s HTTP/1.%d" %d %s "%s" "%s"\n' % (  # noqa: UP031
            client_ip, escape_user(user) if user else "-", self._clock.text(time.time()), request.method,
            escape_quoted(request.target), request.minor_version, status, sent or "-",
            escape_quoted(fields.get(b"referer", b"-").decode("latin-1")),
            escape_quoted(fields.get(b"user-agent", b"-").decode("latin-1")),
        )  # fmt: skip

    def session(
        self, kind: str, listener: str, client: str, target: str, received: int, sent: int, duration_s: float,
        reason: str,
    ) -> str:  # fmt: skip
        """Nothing: the form knows HTTP requests only."""
        return ""

    def query(self, transport: str, client: str, name: str, type: str, rcode: str) -> str:
        """Nothing: the form knows HTTP requests only."""
        return ""


FORMATS = {"pretty": Pretty, "json": Json, "combined": Combined}


def escape_user(user: str) -> str:
    """A name as one word: spaces would shift the fields behind it."""
    return escape_quoted(user).replace(" ", "\\x20")


def size(count: int) -> str:
    """A number of bytes for people: `512 B`, `1.2 KB`."""
    if count < 1024:
        return f"{count} B"
    if count < 1000 << 10:
        return f"{count / (1 << 10):.1f} KB"
    if count < 1000 << 20:
        return f"{count / (1 << 20):.1f} MB"
    return f"{count / (1 << 30):.1f} GB"


def _coloured(status: int) -> str:
    colour = {2: 32, 3: 36, 4: 33, 5: 31}.get(status // 100, 0)
    return f"\x1b[{colour}m{status}\x1b[0m"
