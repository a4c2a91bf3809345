"""What receivers of access logs read: messages of RFC 5424, of the syslog socket, of the journal; octet counting."""

from __future__ import annotations

import re

#: RFC 5424 section 6, without structured data: priority, time, host, application, process, kind, text.
RFC5424 = re.compile(
    r"<(\d{1,3})>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) "
    r"([!-~]{1,255}) ([!-~]{1,48}) ([!-~]{1,128}) ([!-~]{1,32}) - (.*)"
)
RFC3164 = re.compile(r"<(\d{1,3})>([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) ([a-z]+)\[(\d+)\]: (.*)")


def text_of(message: str | bytes) -> str:
    """Return the text of a message of RFC 5424. AssertionError if it is none."""
    message = message.decode() if isinstance(message, bytes) else message
    match = RFC5424.fullmatch(message)
    assert match is not None, message
    return match[7]


def split_counted(data: bytes) -> tuple[list[bytes], bytes]:
    """Return the messages of a stream with octet counting (RFC 6587 section 3.4.1), and what is not complete yet."""
    found = []
    while (match := re.match(rb"([1-9]\d*) ", data)) and len(data) >= (end := match.end() + int(match[1])):
        found.append(data[match.end() : end])
        data = data[end:]
    assert match or data == b"" or data.isdigit(), data[:50]
    return found, data


def read_journal(data: bytes) -> dict[str, str]:
    """Return the fields of an entry of the journal in its native protocol, without fields of several lines."""
    text = data.decode()
    assert text.endswith("\n")
    pairs = [line.partition("=") for line in text[:-1].split("\n")]
    assert all(mark and re.fullmatch("[A-Z][A-Z0-9_]*", name) for name, mark, _ in pairs), text
    assert len({name for name, _, _ in pairs}) == len(pairs)
    return {name: value for name, _, value in pairs}
