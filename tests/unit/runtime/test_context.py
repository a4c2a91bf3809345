"""Values that every process has one of."""

from __future__ import annotations

from npserver.runtime.context import PerProcess
from tests.stage.worker import make_context


def test_a_value_is_made_once_for_each_process() -> None:
    lists: PerProcess[list[int]] = PerProcess(lambda context: [context.worker])
    first, second = make_context(worker=0), make_context(worker=0)
    assert lists.of(first) is lists.of(first)
    assert lists.of(first) is not lists.of(second)


def test_a_value_made_elsewhere_is_put_in_its_place_and_taken_away_at_the_end() -> None:
    names: PerProcess[str] = PerProcess(lambda context: "made here")
    context = make_context()
    names.put(context, "made before the fork")
    assert names.of(context) == "made before the fork"
    assert names.take(context) == "made before the fork"
    assert names.take(context) is None
