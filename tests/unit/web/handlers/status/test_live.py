"""The stream of one viewer: what is sent when, and its end."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import pytest

from npserver.runtime.compilation import REPLACED
from npserver.runtime.scoreboard import Scoreboard
from npserver.web.exchange import Exchange
from npserver.web.handlers.status.live import PERIOD_S, VIEWERS, Stream, claim
from tests.stage.worker import make_context


class Client:
    """An exchange that keeps what is sent."""

    def __init__(self) -> None:
        self.context = make_context()
        self.sent: list[bytes] = []
        self.is_over = False
        self._watchers: list[Callable[[], None]] = []

    def watch_end(self, ended: Callable[[], None]) -> None:
        self._watchers.append(ended)

    def start(self, status: int, fields: bytes, length: int | None, source: object) -> None:
        assert (status, length) == (200, None)

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def flush(self) -> None:
        """Nothing is kept."""

    def finish(self) -> None:
        if not self.is_over:
            self.is_over = True
            for ended in self._watchers:
                ended()

    def events(self) -> list[Any]:
        """Return what has been sent since the last call."""
        events = [json.loads(one[6:]) for one in self.sent if one.startswith(b"data: ")]
        self.sent.clear()
        return events


class Bed:
    """A stream, and the sections that it sends."""

    def __init__(self) -> None:
        self.client = Client()
        self.context = self.client.context
        self.sections = {"up": "1", "targets": "all"}
        self.slot = self.context.row.slot(VIEWERS)
        assert claim(self.context, self.slot, 1)
        self.stream = Stream(cast("Exchange", self.client), lambda: dict(self.sections), self.slot)
        self.now = self.context.loop.time()
        self.stream.start()

    def after(self, seconds: float = PERIOD_S) -> list[Any]:
        self.now += seconds
        self.stream.expire(self.now)
        return self.client.events()

    @property
    def viewers(self) -> int:
        return self.context.row.slots[self.slot]


@pytest.fixture
def bed() -> Bed:
    return Bed()


def test_only_what_has_changed_is_sent(bed: Bed) -> None:
    assert bed.client.events() == [{"up": "1", "targets": "all"}]
    bed.sections["up"] = "2"
    assert bed.after(0.5) == []
    assert bed.after() == [{"up": "2"}]
    bed.stream.expire(bed.now + PERIOD_S)
    assert bed.client.sent == [b": nothing new\n\n"], "so that a client that has gone is noticed"


def test_a_client_that_does_not_keep_up_gets_the_changes_at_once_later(bed: Bed) -> None:
    bed.client.events()
    bed.stream.pause()
    bed.sections["up"] = "2"
    assert bed.after() == []
    bed.sections["up"] = "3"
    bed.stream.resume()
    assert bed.after(0.25) == [{"up": "3"}]


def test_a_shutdown_ends_it_at_the_next_sweep(bed: Bed) -> None:
    assert bed.stream in bed.context.sweeper.watched
    bed.context.draining = True
    bed.after(0.25)
    assert bed.client.is_over
    assert bed.viewers == 0
    assert bed.stream not in bed.context.sweeper.watched


def test_a_reload_ends_it(bed: Bed) -> None:
    (replaced,) = REPLACED.of(bed.context)
    replaced()
    assert (bed.client.is_over, bed.viewers) == (True, 0)
    assert REPLACED.of(bed.context) == set()


def test_viewers_are_counted_over_all_workers() -> None:
    board = Scoreboard(2, b"seed")
    one, two = make_context(board=board), make_context(worker=1, board=board)
    slot = one.row.slot(VIEWERS)
    assert [claim(context, slot, 2) for context in (one, two, one, two)] == [True, True, False, False]
    assert board.total(slot) == 2
