"""How often a flood is logged."""

from __future__ import annotations

from logging import DEBUG, INFO

from npserver.limits.log_pace import LOG_NS, LogPace


def test_one_line_in_a_while_is_for_everybody() -> None:
    pace = LogPace()
    times = [5, 6, 5 + LOG_NS - 1, 5 + LOG_NS, 6 + LOG_NS, 9 * LOG_NS]
    assert [pace.level(now) for now in times] == [INFO, DEBUG, DEBUG, INFO, DEBUG, INFO]
