"""Messages of problems and errors."""

from __future__ import annotations

import pytest

from npserver.errors import (
    BadRequest,
    BadResponse,
    ConfigError,
    NpserverError,
    Problem,
    ProtocolError,
    Severity,
    clip,
    reason_of,
)


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("wrong"), "wrong"),
        (Problem("wrong", "a.json"), "a.json: wrong"),
        (Problem("wrong", "a.json", 3, 7), "a.json:3:7: wrong"),
        (Problem("odd", "a.json", 3, 7, Severity.WARNING), "a.json:3:7: warning: odd"),
        (Problem("expired", "a.json", severity=Severity.CHECK_ERROR), "a.json: warning: expired"),
    ],
)
def test_a_problem_is_written_with_its_place(problem: Problem, text: str) -> None:
    assert str(problem) == text


def test_a_config_error_has_a_line_for_each_problem() -> None:
    error = ConfigError([Problem("one", "a"), Problem("two", "a")])
    assert str(error) == "a: one\na: two"
    assert isinstance(error, NpserverError)


def test_a_protocol_error_has_a_class_and_a_status() -> None:
    assert (BadRequest("x").status, BadResponse("x").status) == (400, 502)
    error = BadRequest("too long", 431, "limits.max_header_size")
    assert isinstance(error, ProtocolError)
    assert (str(error), error.status, error.key) == ("too long", 431, "limits.max_header_size")


@pytest.mark.parametrize(
    ("value", "text"),
    [("a", "'a'"), (b"\r\n", r"b'\r\n'"), ("x" * 100, "'" + "x" * 59 + "..."), (12, "12")],
)
def test_values_are_quoted_and_cut(value: object, text: str) -> None:
    assert clip(value) == text


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "connection refused"),
        (OSError(2, "No such file or directory", "a.pem"), "no such file or directory"),
        (OSError("Unexpected end"), "unexpected end"),
        (ValueError("TLS is not spoken"), "TLS is not spoken"),
        (TimeoutError(), "timed out"),
        (EOFError(), "EOFError"),
    ],
)
def test_errors_of_the_system_are_told_without_their_number(error: Exception, reason: str) -> None:
    assert reason_of(error) == reason


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (True, "true"), (False, "false"), (0, "0"), ("x", "'x'"), ([None], "a list"), ({}, "an object")],
)
def test_values_are_quoted_in_the_words_of_json(value: object, text: str) -> None:
    assert clip(value) == text
