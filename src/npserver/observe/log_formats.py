"""The formats of the access log: `pretty` for people, `json` for programs, `combined` for log analysers.

Each format is a class with one method per kind of event; `hides_query` keeps the queries of targets and of the Referer
out of it (`hide`). It returns a line with its line feed, or "" if the format
cannot express the event. Values that a client controls are escaped by `observe.escape`.
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from msgspec import Struct

from npserver.http.memo import SHORT_HEAD_BYTES
from npserver.observe.escape import decode, decode_latin1, escape_control, escape_quoted, replace_surrogates
from npserver.observe.masking import without_query

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.http.request import Request
    from npserver.observe.request_record import QueryRecord, RequestRecord


P = TypeVar("P", bound=tuple[str, ...])

EMPTY = '""'  # an empty JSON string
MAX_CACHED = 512  # request heads, about 2 KB each


class Format(Protocol):
    """A format of the access log. All durations are in seconds, all sizes in bytes."""

    @property
    def has_clock(self) -> bool:
        """Whether its lines begin with the time and a space, which messages do without."""

    def request(self, record: RequestRecord) -> str:
        """Return the line of a finished request."""

    def session(
        self, kind: str, listener: str, client: str, target: str, received: int, sent: int, duration_s: float,
        reason: str,
    ) -> str:  # fmt: skip
        """Return the line of a forwarded connection or session."""

    def query(self, transport: str, client: str, name: str, type: str, rcode: str, blocked_by: str = "") -> str:
        """Return the line of a DNS query."""


class QueryFormat(Protocol):
    """A format of the query log."""

    @property
    def has_clock(self) -> bool:
        """Whether its lines begin with the time and a space."""

    def line(self, record: QueryRecord) -> str:
        """Return the line of a query."""


class Clock:
    """The time as text, formatted once per second."""

    __slots__ = ("_is_utc", "_pattern", "_second", "_text")

    def __init__(self, pattern: str, *, is_utc: bool = False) -> None:
        self._pattern = pattern
        self._is_utc = is_utc
        self._second = -1
        self._text = ""

    def text(self, now: float) -> str:
        """Return `now`, a time of `time.time`, as text."""
        second = int(now)
        if second != self._second:
            self._second = second
            self._text = time.strftime(self._pattern, time.gmtime(second) if self._is_utc else time.localtime(second))
        return self._text


class UtcClock(Clock):
    """The time as RFC 3339 has it, in UTC and with milliseconds."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("%Y-%m-%dT%H:%M:%S", is_utc=True)

    def now(self) -> str:
        """Return `2026-11-28T16:07:01.123Z`."""
        # hot: static-log
        now = time.time()
        return f"{self.text(now)}.{int(now % 1 * 1000):03}Z"


class HeadParts(Generic[P]):
    """Cache of the parts of a line that depend only on the request head: repeated heads are the same object."""

    __slots__ = ("_known", "_make")

    def __init__(self, make: Callable[[Request], P]) -> None:
        self._known: dict[int, tuple[P, Request]] = {}  # by id; keeping the request keeps it unique
        self._make = make

    def of(self, request: Request) -> P:
        """Return the parts: for a fixed format those before and after the response's fields."""
        # hot: static-log
        known = self._known.get(id(request))
        if known is not None:
            return known[0]
        parts = self._make(request)
        if sum([len(line) for line in request.block.lines]) + len(request.target) <= SHORT_HEAD_BYTES:
            if len(self._known) >= MAX_CACHED:
                self._known.clear()
            self._known[id(request)] = parts, request
        return parts


class Pretty:
    """`16:07:01 203.0.113.9 GET example.com/a 200 1.2 KB 0.4 ms -> http://127.0.0.1:8001`."""

    has_clock = True

    def __init__(self, is_coloured: bool, hides_query: bool = False) -> None:
        self._clock = Clock("\x1b[2m%H:%M:%S\x1b[0m" if is_coloured else "%H:%M:%S")
        self._parts = HeadParts(lambda request: _pretty_parts(_shown(request, hides_query)))
        self._statuses = {status: _coloured(status) if is_coloured else str(status) for status in range(100, 600)}

    def request(self, record: RequestRecord) -> str:
        """Return the line of a finished request."""
        # hot: static-log
        head, _ = self._parts.of(record.request)
        who = f"{record.client_ip} {escape_control(record.user)}" if record.user else record.client_ip
        sent = size(record.sent)
        moved = f"{size(record.received)} in, {sent}" if record.received else sent
        tail = f" -> {record.upstream}" if record.upstream else ""
        shown = self._statuses.get(record.status, record.status)
        clock = self._clock.text(time.time())
        return f"{clock} {who} {head} {shown} {moved} {record.duration_s * 1000:.1f} ms{tail}\n"

    def session(
        self, kind: str, listener: str, client: str, target: str, received: int, sent: int, duration_s: float,
        reason: str,
    ) -> str:  # fmt: skip
        """Return the line of a forwarded connection or session."""
        clock = self._clock.text(time.time())
        tail = f" ({escape_control(reason)})" if reason else ""
        bytes_moved = f"{size(received)} in, {size(sent)} out"
        return f"{clock} {client} {kind} {listener} -> {target or '-'} {bytes_moved}, {duration_s:.1f} s{tail}\n"

    def query(self, transport: str, client: str, name: str, type: str, rcode: str, blocked_by: str = "") -> str:
        """Return the line of a DNS query."""
        why = f" blocked by {blocked_by}" if blocked_by else ""
        at = self._clock.text(time.time())
        return f"{at} {client} dns {transport} {escape_control(name)} {type} {rcode}{why}\n"


class Json:
    """One JSON object per line. The time is RFC 3339 in UTC, `duration_ms` has three decimals."""

    has_clock = False

    def __init__(self, is_coloured: bool, hides_query: bool = False) -> None:
        from json import JSONEncoder  # only this format needs it: others start faster without

        self._clock = UtcClock()
        self._parts = HeadParts(lambda request: self._describe(_shown(request, hides_query)))
        # Non-ASCII characters become \uNNNN: terminals also act on the C1 controls U+0080..U+009F.
        self._quote = JSONEncoder(separators=(",", ":")).encode
        self._rules: dict[str, str] = {}  # names in JSON, as many as the config has

    def request(self, record: RequestRecord) -> str:
        """Return the line of a finished request."""
        # hot: static-log
        head, tail = self._parts.of(record.request)
        target = self._quote(record.upstream) if record.upstream else EMPTY
        name = self._quote(record.user) if record.user else EMPTY
        rule = self._rules.get(record.rule)
        if rule is None:
            rule = self._rules[record.rule] = self._quote(record.rule)
        return (
            f'{{"time":"{self._clock.now()}","type":"request","client_ip":"{record.client_ip}","scheme":"{record.scheme}",'
            f'{head},"status":{record.status},"received_bytes":{record.received},"sent_bytes":{record.sent},'
            f'"duration_ms":{record.duration_s * 1000:.3f},"upstream":{target},"request_id":"{record.request_id}",'
            f'"user":{name},"rule":{rule},{tail}}}\n'
        )

    def session(
        self, kind: str, listener: str, client: str, target: str, received: int, sent: int, duration_s: float,
        reason: str,
    ) -> str:  # fmt: skip
        """Return the line of a forwarded connection or session."""
        client_ip, client_port = split_endpoint(client)
        return self._line({
            "type": "session", "kind": kind, "listener": listener, "client_ip": client_ip, "client_port": client_port,
            "target": target,
            "received_bytes": received, "sent_bytes": sent, "duration_ms": round(duration_s * 1000, 3),
            "reason": reason,
        })  # fmt: skip

    def query(self, transport: str, client: str, name: str, type: str, rcode: str, blocked_by: str = "") -> str:
        """Return the line of a DNS query."""
        entry: dict[str, object] = {
            "type": "query", "transport": transport, "client_ip": client, "name": name, "qtype": type, "rcode": rcode
        }  # fmt: skip
        return self._line({**entry, "blocked_by": blocked_by} if blocked_by else entry)

    def _line(self, entry: dict[str, object]) -> str:
        return self._quote({"time": self._clock.now(), **entry}) + "\n"

    def _describe(self, shown: _Shown) -> tuple[str, str]:
        head = {
            "method": shown.method,
            "host": replace_surrogates(shown.authority),
            "target": replace_surrogates(shown.target),
            "protocol": shown.protocol,
        }
        tail = {"referer": replace_surrogates(shown.referer), "user_agent": replace_surrogates(shown.user_agent)}
        return self._quote(head)[1:-1], self._quote(tail)[1:-1]


class Combined:
    """The combined log format of Apache and nginx. It logs HTTP requests only."""

    has_clock = False

    def __init__(self, is_coloured: bool, hides_query: bool = False) -> None:
        self._clock = Clock("%d/%b/%Y:%H:%M:%S %z")
        self._parts = HeadParts(lambda request: _combined_parts(_shown(request, hides_query)))

    def request(self, record: RequestRecord) -> str:
        """Return the line of a finished request."""
        # hot: static-log
        head, tail = self._parts.of(record.request)
        who = escape_user(record.user) if record.user else "-"
        clock = self._clock.text(time.time())
        return f"{record.client_ip} - {who} [{clock}] {head} {record.status} {record.sent or '-'} {tail}\n"

    def session(
        self, kind: str, listener: str, client: str, target: str, received: int, sent: int, duration_s: float,
        reason: str,
    ) -> str:  # fmt: skip
        """Return "": this format has HTTP requests only."""
        return ""

    def query(self, transport: str, client: str, name: str, type: str, rcode: str, blocked_by: str = "") -> str:
        """Return "": this format has HTTP requests only."""
        return ""


FORMATS: dict[str, Callable[[bool, bool], Format]] = {"pretty": Pretty, "json": Json, "combined": Combined}


def escape_user(user: str) -> str:
    """Return a user name as one word: a space would shift the fields after it."""
    return escape_quoted(user).replace(" ", "\\x20")


@lru_cache(1024)
def size(count: int) -> str:
    """Return a number of bytes as readable text: `512 B`, `1.2 KB`."""
    if count < 1024:
        return f"{count} B"
    if count < 1000 << 10:
        return f"{count / (1 << 10):.1f} KB"
    if count < 1000 << 20:
        return f"{count / (1 << 20):.1f} MB"
    return f"{count / (1 << 30):.1f} GB"


def split_endpoint(client: str) -> tuple[str, int]:
    """Return address and port of `192.0.2.7:4711` or `[2001:db8::7]:4711`; a Unix socket has port 0."""
    host, colon, port = client.rpartition(":")
    if not colon or client.startswith("/") or not port.isdecimal():
        return client, 0
    return host.removeprefix("[").removesuffix("]"), int(port)


class _Shown(Struct, frozen=True):
    """The parts of a request's head that lines have."""

    method: str
    authority: str
    target: str
    protocol: str
    referer: str
    user_agent: str


def _shown(request: Request, hides_query: bool) -> _Shown:
    target = decode_latin1(request.target)
    referer, agent = [decode(request.fields.get(name, b"")) for name in (b"referer", b"user-agent")]
    if hides_query:
        target, referer = without_query(target), without_query(referer)
    return _Shown(request.method, decode_latin1(request.authority), target, request.protocol, referer, agent)


def _pretty_parts(shown: _Shown) -> tuple[str, str]:
    target = shown.authority + shown.target if shown.target.startswith("/") else shown.target
    return f"{escape_control(shown.method)} {escape_control(target)}", ""


def _combined_parts(shown: _Shown) -> tuple[str, str]:
    referer, agent = escape_quoted(shown.referer or "-"), escape_quoted(shown.user_agent or "-")
    line = f"{escape_quoted(shown.method)} {escape_quoted(shown.target)} {shown.protocol}"
    return f'"{line}"', f'"{referer}" "{agent}"'


def _coloured(status: int) -> str:
    colour = {2: 32, 3: 36, 4: 33, 5: 31}.get(status // 100, 0)
    return f"\x1b[{colour}m{status}\x1b[0m"
