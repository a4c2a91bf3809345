"""The files of `error_pages`."""

from __future__ import annotations

from pathlib import Path

import pytest

from npserver.config.load import load_text
from npserver.config.report import Report
from npserver.web.middleware.error_pages import compile as module
from npserver.web.middleware.error_pages.compile import load_error_pages


@pytest.fixture
def report(tmp_path: Path) -> Report:
    (tmp_path / "404.html").write_text("not here")
    (tmp_path / "5xx.json").write_text("{}")
    return Report(load_text("{}", str(tmp_path / "a.json")))


def test_a_status_wins_over_its_hundred(report: Report) -> None:
    pages = load_error_pages(report, ("error_pages",), {"404": "404.html", "4xx": "5xx.json", "5xx": "5xx.json"})
    assert pages.keys() == set(range(400, 600))
    fields, body = pages[404]
    assert b"Content-Type: text/html" in fields
    assert body == b"not here"
    assert {pages[403][1], pages[503][1]} == {b"{}"}
    assert report.problems == []


def test_what_is_wrong_with_a_page_is_said_and_the_others_are_loaded(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ERROR_PAGE_BYTES", 5)
    pages = load_error_pages(
        report, ("error_pages",), {"404": "404.html", "200": "5xx.json", "500": "none.html", "502": "5xx.json"}
    )
    assert list(pages) == [502]
    assert len(report.problems) == 3
    text = "\n".join(problem.message for problem in report.problems)
    for words in ("write a status from 400 to 599", "is larger than 1 MiB", "No such file"):
        assert words in text
