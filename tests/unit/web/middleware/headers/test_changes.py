"""Changes to header fields, as the config writes them."""

from __future__ import annotations

import pytest

from npserver.web.middleware.headers.changes import compile_changes, remove_fields
from tests.stage.exchanges import exchange

LINES = b"Content-Type: text/html\r\nX-Old: 1\r\nx-old: 2\r\nVary: Accept\r\n"


@pytest.mark.parametrize(
    ("changes", "result"),
    [
        ({"X-New": "1"}, LINES + b"X-New: 1\r\n"),
        ({"X-OLD": "3"}, b"Content-Type: text/html\r\nVary: Accept\r\nX-OLD: 3\r\n"),
        ({"x-old": None}, b"Content-Type: text/html\r\nVary: Accept\r\n"),
        ({"+X-Old": "3"}, LINES + b"X-Old: 3\r\n"),
        ({"Set-Cookie": ["a=1", "b=2"]}, LINES + b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n"),
        ({"X": "$client_ip"}, LINES + b"X: 192.0.2.1\r\n"),
        ({"X": "$sni"}, LINES),  # nothing to say
        ({"X": ""}, LINES + b"X: \r\n"),
        ({"X": "ü"}, LINES + b"X: \xc3\xbc\r\n"),
    ],
)
def test_fields_are_set_added_and_removed(changes: dict[str, str | list[str] | None], result: bytes) -> None:
    rewrite = compile_changes(changes)
    assert rewrite is not None
    assert rewrite.apply(exchange(), LINES) == result
    assert rewrite.apply(exchange(), LINES) == result


def test_without_changes_there_is_nothing_to_do() -> None:
    assert compile_changes({}) is None


def test_a_value_with_variables_is_made_for_each_request() -> None:
    rewrite = compile_changes({"X": "$client_ip"})
    assert rewrite is not None
    assert rewrite.apply(exchange(), b"") == b"X: 192.0.2.1\r\n"
    assert rewrite.apply(exchange(client_ip="::1"), b"") == b"X: ::1\r\n"


@pytest.mark.parametrize(
    "changes",
    [{"": "x"}, {"a b": "x"}, {"a:": "x"}, {"+": "x"}, {"X": "a\r\nb"}, {"X": "a\0"}, {"X": ["ok", "a\nb"]}]
    + [{name: "x"} for name in ("Content-Length", "transfer-encoding", "Connection", "+Upgrade")]
    + [{"X": "$nope"}],
)
def test_what_would_break_messages_is_refused(changes: dict[str, str | list[str] | None]) -> None:
    with pytest.raises(ValueError, match="header"):
        compile_changes(changes)


def test_only_whole_names_are_removed() -> None:
    assert remove_fields(b"X-A: 1\r\nX-AB: 2\r\n", {b"x-a"}.__contains__) == b"X-AB: 2\r\n"
    assert remove_fields(b"", {b"x-a"}.__contains__) == b""
