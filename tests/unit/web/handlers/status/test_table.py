"""Tables and charts of the status page: what is escaped, what is left out, numbers for people."""

from __future__ import annotations

import pytest

from npserver.web.handlers.status.table import Markup, amount, badge, chart, span, table, text


def test_cells_are_escaped_unless_they_are_markup() -> None:
    shown = table(("a<b", "n"), [("<i>", 1234), (Markup("<b>x</b>"), 0)], 1000)
    assert '<th scope="col">a&lt;b</th>' in shown
    assert '<td data-h="a&lt;b">&lt;i&gt;</td><td class="n" data-h="n">1,234</td>' in shown
    assert "<b>x</b>" in shown


def test_rows_beyond_the_budget_are_counted() -> None:
    rows = [(f"row {number}",) for number in range(100)]
    shown = table(("name",), rows, 1000)
    assert len(shown) < 1200
    assert f"{100 - shown.count('>row ')} more are in the JSON." in shown
    assert table(("name",), [], 1000) == ""


def test_a_long_text_is_cut_off_and_a_broken_one_is_shown() -> None:
    assert text("x" * 1000).endswith("x…")
    assert text("\udce4<") == "?&lt;"


def test_a_badge_has_its_word() -> None:
    assert badge("bad", "<down>") == '<b class="bad">&lt;down&gt;</b>'


def test_a_chart_fits_its_box_and_says_its_last_and_highest_value() -> None:
    drawn = chart([0, 50, 100, 25], "requests <1>", "B")
    assert 'aria-label="requests &lt;1&gt;: now 25B, at most 100B"' in drawn
    assert 'points="0,22 33,12 66,2 99,17"' in drawn
    assert chart([], "x") == chart([0.0, 0.0], "x") == ""
    assert 'points="0,2"' in chart([1.0], "x")


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.5, "0.5"), (3, "3"), (9.96, "10.0"), (12.3, "12"), (999.4, "999"), (1000, "1k"), (3456, "3.5k"),
     (2.5e6, "2.5M"), (7e9, "7G"), (8e15, "8000T")],
)  # fmt: skip
def test_amounts(value: float, shown: str) -> None:
    assert amount(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-5, "0 s"), (40.9, "40 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (90 * 86400, "90 d")],
)
def test_spans(seconds: float, shown: str) -> None:
    assert span(seconds) == shown
