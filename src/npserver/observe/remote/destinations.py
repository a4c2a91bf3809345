"""Destinations of access logs that are no files: syslog servers, the syslog socket of this machine, the journal."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from msgspec import Struct

from npserver.errors import clip
from npserver.guess import get_close_matches

DEV_LOG = "/dev/log"
JOURNAL = "/run/systemd/journal/socket"
#: Port of a syslog server where none is given, by scheme (RFC 5426, RFC 6587, RFC 5425).
PORTS = {"syslog": 514, "syslog+tcp": 601, "syslog+tls": 6514}


class Destination(Struct, frozen=True):
    """Where lines are sent. `form`: of each line."""

    form: Literal["rfc5424", "rfc3164", "journal"]
    is_stream: bool = False
    uses_tls: bool = False
    host: str = ""
    port: int = 0
    path: str = ""  # of a Unix socket, instead of host and port


def parse_destination(text: str) -> Destination | None:
    """Read `to` of an access log; None if it is a file or a stream of the process. Raises: ValueError.

    `syslog://HOST:PORT`, `syslog+tcp://`, `syslog+tls://`; `/dev/log`, or `syslog:///path` for another socket of that
    kind; `journald`, or `journald:///path` for the socket of another namespace.
    """
    if text == DEV_LOG:
        return Destination("rfc3164", path=DEV_LOG)
    if text == "journald":
        return Destination("journal", path=JOURNAL)
    scheme, mark, rest = text.partition("://")
    if not mark:
        return None
    if scheme in ("syslog", "journald") and rest.startswith("/"):
        return Destination("rfc3164" if scheme == "syslog" else "journal", path=rest)
    if scheme not in PORTS:
        known = [*PORTS, "journald"]
        close = get_close_matches(scheme, known, 1)
        hint = f"did you mean {close[0]}://?" if close else f"expected one of {', '.join(known)}"
        raise ValueError(f"unknown destination {clip(text)}; {hint}")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.netloc != rest or "@" in rest or port == 0:
        raise ValueError(f"expected {scheme}://HOST:PORT, got {clip(text)}")
    is_stream = scheme != "syslog"
    return Destination("rfc5424", is_stream, scheme == "syslog+tls", host, port or PORTS[scheme])


def is_remote(text: str) -> bool:
    """Return whether `to` of an access log, which has been checked, is no file and no stream of the process."""
    return "://" in text or text in (DEV_LOG, "journald")
