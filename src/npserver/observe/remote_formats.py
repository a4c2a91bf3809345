"""The messages of syslog and of the journal, around the lines of the access log's formats.

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
from npserver.observe.log_formats import Format, Pretty, UtcClock
from npserver.observe.masking import without_query

if TYPE_CHECKING:
    from npserver.observe.request_record import RequestRecord

APP = "npserver"
FACILITY = 23 << 3  # local7, as nginx has it
INFO, WARNING = 6, 4  # severities
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


class RemoteFormat:
    """A format of the access log whose lines are sent as messages. The base of one class for each kind of message."""

    def __init__(self, inner: Format, *, hides_query: bool = False) -> None:
        self._inner = inner
        self._has_clock = isinstance(inner, Pretty)  # messages have a time of their own
        self._hides_query = hides_query

    def request(self, record: RequestRecord) -> str:
        """Return the message of a finished request: a warning for a status of 500 and above, else information."""
        severity = WARNING if record.status >= 500 else INFO
        text = self._text(self._inner.request(record))
        return text and self._message(text, severity, "request", record)

    def session(
        self, kind: str, listener: str, client: str, target: str, received: int, sent: int, duration_s: float,
        reason: str,
    ) -> str:  # fmt: skip
        """Return the message of a forwarded connection or session."""
        line = self._inner.session(kind, listener, client, target, received, sent, duration_s, reason)
        return line and self._message(self._text(line), INFO, "session", None)

    def query(self, transport: str, client: str, name: str, type: str, rcode: str, blocked_by: str = "") -> str:
        """Return the message of a DNS query."""
        line = self._inner.query(transport, client, name, type, rcode, blocked_by)
        return line and self._message(self._text(line), INFO, "query", None)

    def _text(self, line: str) -> str:
        line = line.removesuffix("\n")
        return line.partition(" ")[2] if self._has_clock else line

    def _message(self, text: str, severity: int, kind: str, record: RequestRecord | None) -> str:
        raise NotImplementedError


class Rfc5424(RemoteFormat):
    """`<190>1 2026-11-28T16:07:01.123Z host npserver 4711 request - text` (RFC 5424 §6)."""

    def __init__(self, inner: Format, *, hides_query: bool = False) -> None:
        super().__init__(inner, hides_query=hides_query)
        self._clock = UtcClock()
        self._host = "".join([one for one in socket.gethostname() if "!" <= one <= "~"])[:255] or "-"

    def _message(self, text: str, severity: int, kind: str, record: RequestRecord | None) -> str:
        return f"<{FACILITY + severity}>1 {self._clock.now()} {self._host} {APP} {os.getpid()} {kind} - {text}"


class Rfc3164(RemoteFormat):
    """`<190>Nov  8 16:07:01 npserver[4711]: text`, with the local time and English months, as `syslog(3)` writes it."""

    def _message(self, text: str, severity: int, kind: str, record: RequestRecord | None) -> str:
        now = time.localtime()
        at = f"{_MONTHS[now.tm_mon - 1]} {now.tm_mday:2} {now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02}"
        return f"<{FACILITY + severity}>{at} {APP}[{os.getpid()}]: {text}"


class Journal(RemoteFormat):
    """An entry of the journal: the line as MESSAGE, and a field for each value of a request."""

    def _message(self, text: str, severity: int, kind: str, record: RequestRecord | None) -> str:
        fields = {"MESSAGE": text, "PRIORITY": severity, "SYSLOG_IDENTIFIER": APP, "NPSERVER_TYPE": kind}
        if record is not None:
            request = record.request
            target = decode_latin1(request.target)
            fields |= {
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
            }
        return "".join([f"{name}={value}\n" for name, value in fields.items() if value != ""])


FORMS: dict[str, type[RemoteFormat]] = {"rfc5424": Rfc5424, "rfc3164": Rfc3164, "journal": Journal}
