"""The messages of syslog and of the journal, around the lines of the access log's and the query log's formats.

A line is text without control characters before it comes here (`observe.escape`), so that it can neither end a message
nor begin a field. RFC 5424 (syslog), RFC 3164 (what the syslog socket of a machine takes), and the native protocol of
systemd's journal, https://systemd.io/JOURNAL_NATIVE_PROTOCOL/.
"""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

from npserver.observe.escape import decode_latin1, escape_control
from npserver.observe.log_formats import UtcClock
from npserver.observe.masking import without_query

if TYPE_CHECKING:
    from collections.abc import Mapping

    from npserver.observe.log_formats import Format, QueryFormat
    from npserver.observe.request_record import QueryRecord, RequestRecord

APP = "npserver"
FACILITY = 23 << 3  # local7, as nginx has it
INFO, WARNING = 6, 4  # severities
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


class Form:
    """A form of messages. `has_fields`: whether a message has the values of a request apart from its text."""

    has_fields = False

    def message(self, text: str, severity: int, kind: str, fields: Mapping[str, object]) -> str:
        """Return the message of a line. `kind`: `request`, `session` or `query`."""
        raise NotImplementedError


class Rfc5424(Form):
    """`<190>1 2026-11-28T16:07:01.123Z host npserver 4711 request - text` (RFC 5424 §6)."""

    def __init__(self) -> None:
        self._clock = UtcClock()
        self._host = "".join([one for one in socket.gethostname() if "!" <= one <= "~"])[:255] or "-"

    def message(self, text: str, severity: int, kind: str, fields: Mapping[str, object]) -> str:
        """Return the message of a line."""
        return f"<{FACILITY + severity}>1 {self._clock.now()} {self._host} {APP} {os.getpid()} {kind} - {text}"


class Rfc3164(Form):
    """`<190>Nov  8 16:07:01 npserver[4711]: text`, with the local time and English months, as `syslog(3)` writes it."""

    def message(self, text: str, severity: int, kind: str, fields: Mapping[str, object]) -> str:
        """Return the message of a line."""
        now = time.localtime()
        at = f"{_MONTHS[now.tm_mon - 1]} {now.tm_mday:2} {now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02}"
        return f"<{FACILITY + severity}>{at} {APP}[{os.getpid()}]: {text}"


class Journal(Form):
    """An entry of the journal: the line as MESSAGE, and a field for each value of a request or a query."""

    has_fields = True

    def message(self, text: str, severity: int, kind: str, fields: Mapping[str, object]) -> str:
        """Return the message of a line."""
        entry = {"MESSAGE": text, "PRIORITY": severity, "SYSLOG_IDENTIFIER": APP, "NPSERVER_TYPE": kind, **fields}
        return "".join([f"{name}={value}\n" for name, value in entry.items() if value != ""])


FORMS: dict[str, type[Form]] = {"rfc5424": Rfc5424, "rfc3164": Rfc3164, "journal": Journal}


class RemoteFormat:
    """A format of the access log whose lines are sent as messages."""

    has_clock = False

    def __init__(self, inner: Format, form: str, *, hides_query: bool = False) -> None:
        self._inner = inner
        self._form = FORMS[form]()
        self._has_clock = inner.has_clock  # messages have a time of their own
        self._hides_query = hides_query

    def request(self, record: RequestRecord) -> str:
        """Return the message of a finished request: a warning for a status of 500 and above, else information."""
        severity = WARNING if record.status >= 500 else INFO
        text = _text(self._inner.request(record), self._has_clock)
        fields = self._fields(record) if self._form.has_fields else {}
        return text and self._form.message(text, severity, "request", fields)

    def session(
        self, kind: str, listener: str, client: str, target: str, received: int, sent: int, duration_s: float,
        reason: str,
    ) -> str:  # fmt: skip
        """Return the message of a forwarded connection or session."""
        line = self._inner.session(kind, listener, client, target, received, sent, duration_s, reason)
        return line and self._form.message(_text(line, self._has_clock), INFO, "session", {})

    def query(self, transport: str, client: str, name: str, type: str, rcode: str, blocked_by: str = "") -> str:
        """Return the message of a DNS query."""
        line = self._inner.query(transport, client, name, type, rcode, blocked_by)
        return line and self._form.message(_text(line, self._has_clock), INFO, "query", {})

    def _fields(self, record: RequestRecord) -> dict[str, object]:
        request = record.request
        target = decode_latin1(request.target)
        return {
            "NPSERVER_CLIENT_IP": record.client_ip,
            "NPSERVER_SCHEME": record.scheme,
            "NPSERVER_METHOD": escape_control(request.method),
            "NPSERVER_HOST": escape_control(decode_latin1(request.authority)),
            "NPSERVER_TARGET": escape_control(without_query(target) if self._hides_query else target),
            "NPSERVER_STATUS": record.status,
            "NPSERVER_RECEIVED_BYTES": record.received,
            "NPSERVER_SENT_BYTES": record.sent,
            "NPSERVER_DURATION_MS": f"{record.duration_s * 1000:.3f}",
            "NPSERVER_UPSTREAM": record.upstream,
            "NPSERVER_USER": escape_control(record.user),
            "NPSERVER_REQUEST_ID": record.request_id,
            "NPSERVER_RULE": escape_control(record.rule),
        }


class RemoteQueryFormat:
    """A format of the query log whose lines are sent as messages."""

    has_clock = False

    def __init__(self, inner: QueryFormat, form: str) -> None:
        self._inner = inner
        self._form = FORMS[form]()
        self._has_clock = inner.has_clock

    def line(self, record: QueryRecord) -> str:
        """Return the message of a query."""
        fields = {
            "NPSERVER_CLIENT_IP": record.client_ip,
            "NPSERVER_TRANSPORT": record.transport,
            "NPSERVER_NAME": escape_control(record.name),
            "NPSERVER_QTYPE": record.type,
            "NPSERVER_RCODE": record.rcode,
            "NPSERVER_SENT_BYTES": record.size,
            "NPSERVER_DURATION_MS": f"{record.duration_s * 1000:.3f}",
            "NPSERVER_DECIDED_BY": escape_control(record.decided_by),
        } if self._form.has_fields else {}  # fmt: skip
        return self._form.message(_text(self._inner.line(record), self._has_clock), INFO, "query", fields)


def _text(line: str, has_clock: bool) -> str:
    line = line.removesuffix("\n")
    return line.partition(" ")[2] if has_clock else line
