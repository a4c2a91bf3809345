"""The access logs that `logging` asks for, with all of their settings."""

from __future__ import annotations

from typing import Any

import pytest

from npserver.observe.config import AccessLogSection, Logging, access_logs, log_files


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("off", []),
        ([], []),
        ("stdout", [("stdout", "json", ["query"])]),
        (["a", AccessLogSection(to="b")], [("a", "json", ["query"]), ("b", "json", ["query"])]),
        ([AccessLogSection(to="b", format="combined", hide=[])], [("b", "combined", [])]),
    ],
)
def test_a_log_has_what_all_have(written: Any, found: list[tuple[str, str, list[str]]]) -> None:
    logging = Logging(access_log=written, format="json", hide=["query"])
    assert [(one.to, one.format, one.hide) for one in access_logs(logging)] == found


def test_files_are_what_is_no_stream() -> None:
    logging = Logging(access_log=["stdout", AccessLogSection(to="b.log")], query_log="queries.log")
    assert log_files(logging) == ["b.log", "queries.log"]
