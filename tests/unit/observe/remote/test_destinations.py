"""Where access logs are sent: `to`."""

from __future__ import annotations

import pytest

from npserver.observe.remote.destinations import DEV_LOG, JOURNAL, Destination, is_remote, parse_destination


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("stdout", None),
        ("logs/access.log", None),
        ("/var/log/access.log", None),
        ("syslog://10.0.0.9", Destination("rfc5424", host="10.0.0.9", port=514)),
        ("syslog://logs.home:5514", Destination("rfc5424", host="logs.home", port=5514)),
        ("syslog+tcp://[2001:db8::1]", Destination("rfc5424", is_stream=True, host="2001:db8::1", port=601)),
        ("syslog+tls://logs.home", Destination("rfc5424", is_stream=True, uses_tls=True, host="logs.home", port=6514)),
        ("syslog:///run/log.sock", Destination("rfc3164", path="/run/log.sock")),
        ("/dev/log", Destination("rfc3164", path=DEV_LOG)),
        ("journald", Destination("journal", path=JOURNAL)),
        ("journald:///run/journal.x/socket", Destination("journal", path="/run/journal.x/socket")),
    ],
)
def test_destinations(text: str, found: Destination | None) -> None:
    assert parse_destination(text) == found
    assert is_remote(text) is (found is not None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sislog://a", "did you mean syslog://?"),
        ("http://a", "expected one of syslog, syslog+tcp, syslog+tls, journald"),
        ("syslog://", "expected syslog://HOST:PORT"),
        ("syslog+tcp:///run/x", "expected syslog+tcp://HOST:PORT"),
        ("syslog://a:0", "expected syslog://HOST:PORT"),
        ("syslog://a:99999", "expected syslog://HOST:PORT"),
        ("syslog://a:x", "expected syslog://HOST:PORT"),
        ("syslog://u:p@a", "expected syslog://HOST:PORT"),
        ("syslog://a/path", "expected syslog://HOST:PORT"),
        ("syslog://a?x", "expected syslog://HOST:PORT"),
        ("syslog://[::1", "expected syslog://HOST:PORT"),
        ("journald://a", "unknown destination"),
    ],
)
def test_what_is_none(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_destination(text)
    assert message in str(caught.value)
