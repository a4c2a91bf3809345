"""The forms of an access log line: `pretty` for people, `json` for programs, `combined` for log analysers.

Each form is a class with a method per kind of event that gives a line with its line feed, or nothing where the form has
no way to say it. Whatever a client chose is escaped, see `observe.escape`. Made by `observe.access_log`.
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from npserver.observe.escape import escape_control, escape_quoted

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.http.request import Request


EMPTY = '""'
MAX_REMEMBERED = 512  # heads; some 2 KB each


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


class Parts:
    """What of a line depends on the request's head alone, by the head: the server remembers heads that come again."""

    __slots__ = ("_known", "_make")

    def __init__(self, make: Callable[[Request], tuple[str, str]]) -> None:
        self._known: dict[int, tuple[str, str, Request]] = {}  # by id, which holds as long as the request is kept here
        self._make = make

    def of(self, request: Request) -> tuple[str, str, Request]:
        """The two parts around what is told of the response."""
        # hot: access-log
        parts = self._known.get(id(request))
        if parts is None:
            if len(self._known) >= MAX_REMEMBERED:
                self._known.clear()
            parts = self._known[id(request)] = (*self._make(request), request)
        return parts


class Pretty:
    """`16:07:01 203.0.113.9 GET example.com/a 200 1.2 KB 0.4 ms -> http://127.0.0.1:8001`."""

    def __init__(self, is_coloured: bool) -> None:
        self._clock = Clock("\x1b[2m%H:%M:%S\x1b[0m" if is_coloured else "%H:%M:%S")
        self._parts = Parts(_pretty_parts)
        self._statuses = {status: _coloured(status) if is_coloured else str(status) for status in range(100, 600)}

    def request(
        self, client_ip: str, request: Request, scheme: str, status: int, received: int, sent: int,
        duration_s: float, upstream: str, request_id: str, user: str,
    ) -> str:  # fmt: skip
        """Describe an exchange."""
        # hot: access-log
        head, _, _ = self._parts.of(request)
        who = f"{client_ip} {escape_control(user)}" if user else client_ip
        moved = f"{size(received)} in, {size(sent)}" if received else size(sent)
        tail = f" -> {upstream}" if upstream else ""
        shown = self._statuses.get(status, status)
        return f"{self._clock.text(time.time())} {who} {head} {shown} {moved} {duration_s * 1000:.1f} ms{tail}\n"

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
        from json import JSONEncoder  # only this form needs it: a start is shorter without

        self._clock = Clock("%Y-%m-%dT%H:%M:%S", is_utc=True)
        self._parts = Parts(self._describe)
        # All that is not ASCII as \uNNNN: terminals obey the C1 controls U+0080..U+009F too.
        self._quote = JSONEncoder(separators=(",", ":")).encode

    def request(
        self, client_ip: str, request: Request, scheme: str, status: int, received: int, sent: int,
        duration_s: float, upstream: str, request_id: str, user: str,
    ) -> str:  # fmt: skip
        """Describe an exchange."""
        # hot: access-log
        head, tail, _ = self._parts.of(request)
        target = self._quote(upstream) if upstream else EMPTY
        name = self._quote(user) if user else EMPTY
        return (
            f'{{"time":"{self._now()}","type":"request","client_ip":"{client_ip}","scheme":"{scheme}",{head},'
            f'"status":{status},"received_bytes":{received},"sent_bytes":{sent},"duration_ms":{duration_s * 1000:.3f},'
            f'"upstream":{target},"request_id":"{request_id}","user":{name},{tail}}}\n'
        )

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
        return self._quote({"time": self._now(), **entry}) + "\n"

    def _describe(self, request: Request) -> tuple[str, str]:
        head = {
            "method": request.method,
            "host": request.authority,
            "target": request.target,
            "protocol": request.protocol,
        }
        tail = {
            "referer": request.fields.get(b"referer", b"").decode("latin-1"),
            "user_agent": request.fields.get(b"user-agent", b"").decode("latin-1"),
        }
        return self._quote(head)[1:-1], self._quote(tail)[1:-1]

    def _now(self) -> str:
        now = time.time()
        return f"{self._clock.text(now)}.{int(now % 1 * 1000):03}Z"


class Combined:
    """The Apache and nginx form, for HTTP alone: what is no HTTP request has no line."""

    def __init__(self, is_coloured: bool) -> None:
        self._clock = Clock("%d/%b/%Y:%H:%M:%S %z")
        self._parts = Parts(_combined_parts)

    def request(
        self, client_ip: str, request: Request, scheme: str, status: int, received: int, sent: int,
        duration_s: float, upstream: str, request_id: str, user: str,
    ) -> str:  # fmt: skip
        """Describe an exchange."""
        # hot: access-log
        head, tail, _ = self._parts.of(request)
        who = escape_user(user) if user else "-"
        return f"{client_ip} - {who} [{self._clock.text(time.time())}] {head} {status} {sent or '-'} {tail}\n"

    def session(
        self, kind: str, listener: str, client: str, target: str, received: int, sent: int, duration_s: float,
        reason: str,
    ) -> str:  # fmt: skip
        """Nothing: the form knows HTTP requests only."""
        return ""

    def query(self, transport: str, client: str, name: str, type: str, rcode: str) -> str:
        """Nothing: the form knows HTTP requests only."""
        return ""


FORMATS: dict[str, Callable[[bool], Format]] = {"pretty": Pretty, "json": Json, "combined": Combined}


def escape_user(user: str) -> str:
    """A name as one word: spaces would shift the fields behind it."""
    return escape_quoted(user).replace(" ", "\\x20")


@lru_cache(1024)
def size(count: int) -> str:
    """A number of bytes for people: `512 B`, `1.2 KB`."""
    if count < 1024:
        return f"{count} B"
    if count < 1000 << 10:
        return f"{count / (1 << 10):.1f} KB"
    if count < 1000 << 20:
        return f"{count / (1 << 20):.1f} MB"
    return f"{count / (1 << 30):.1f} GB"


def _pretty_parts(request: Request) -> tuple[str, str]:
    target = request.target
    if target.startswith("/"):
        target = request.authority + target
    return f"{request.method} {escape_control(target)}", ""


def _combined_parts(request: Request) -> tuple[str, str]:
    referer = escape_quoted(request.fields.get(b"referer", b"-").decode("latin-1"))
    agent = escape_quoted(request.fields.get(b"user-agent", b"-").decode("latin-1"))
    line = f"{request.method} {escape_quoted(request.target)} {request.protocol}"
    return f'"{line}"', f'"{referer}" "{agent}"'


def _coloured(status: int) -> str:
    colour = {2: 32, 3: 36, 4: 33, 5: 31}.get(status // 100, 0)
    return f"\x1b[{colour}m{status}\x1b[0m"
