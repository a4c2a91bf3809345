"""Exemplars: for each bucket of a histogram, the trace of a request that was counted in it (`metrics.exemplars`).

They lie in the scoreboard: four numbers for each bucket, in the row of the process that has sampled the request. The
last one of all rows is shown, by `observe.open_metrics`. `observe.histogram` owns them.
"""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from npserver.runtime.scoreboard import Row, Scoreboard

_PREFIX = "npserver_exemplar"
_FORM = struct.Struct("=16sdd")  # trace, value in seconds, seconds since 1970: 0 for none
_NUMBERS = struct.Struct("=4q")  # the same bytes, as slots have them
_AT = 3  # place of the time


class Exemplar(Struct, frozen=True):
    """One request."""

    trace_id: str  # 32 hexadecimal digits
    value_s: float
    at: float  # seconds since 1970


class Exemplars:
    """Those of one histogram. `series`: the name of its slots, before the tab and the number of the bucket."""

    __slots__ = ("_places", "_slots")

    def __init__(self, row: Row, series: str, buckets: int) -> None:
        self._slots = row.slots
        self._places = [[row.slot(name) for name in _names(series, bucket)] for bucket in range(buckets)]

    def keep(self, bucket: int, trace_id: str, value_s: float) -> None:
        """Take the place of the bucket's former one."""
        slots, places = self._slots, self._places[bucket]
        numbers = _NUMBERS.unpack(_FORM.pack(bytes.fromhex(trace_id), value_s, time.time()))
        slots[places[_AT]] = 0  # until it is whole: others read it meanwhile
        for place, number in zip(places[:_AT], numbers, strict=False):
            slots[place] = number
        slots[places[_AT]] = numbers[_AT]


def find_exemplars(board: Scoreboard, series: str, buckets: int) -> list[Exemplar | None]:
    """Return the last one of each bucket in all rows; None where there is none."""
    if _names(series, 0)[0] not in board.directory.names:  # none are kept
        return [None] * buckets
    return [_find(board, _names(series, bucket)) for bucket in range(buckets)]


def _find(board: Scoreboard, names: list[str]) -> Exemplar | None:
    directory = board.directory.names
    places = [directory.get(name, -1) for name in names]
    if -1 in places:
        return None
    found: Exemplar | None = None
    for row in board.rows:
        numbers = [row[place] for place in places]
        if not numbers[_AT] or row[places[_AT]] != numbers[_AT]:
            continue  # it is being written
        trace, value_s, at = _FORM.unpack(_NUMBERS.pack(*numbers))
        if found is None or at > found.at:
            found = Exemplar(trace.hex(), value_s, at)
    return found


def _names(series: str, bucket: int) -> list[str]:
    return [f"{_PREFIX}\t{series}\t{bucket}\t{part}" for part in range(_NUMBERS.size // 8)]
