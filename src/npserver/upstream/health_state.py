"""Health of a target: derived from consecutive results of active checks; its weight during a slow start."""

from __future__ import annotations

from enum import IntEnum

from npserver.errors import clip

MIN_RAMP = 0.1  # part of the weight at the beginning of a slow start


class Health(IntEnum):
    """The result of active health checks. Its values are stored on the scoreboard."""

    DOWN = -1
    UNKNOWN = 0  # not checked yet, or no checks configured: the target is used
    UP = 1


class HealthTrack:
    """The health of one target, which changes after `rise` good or `fall` bad results in a row."""

    __slots__ = ("contrary_results", "fall", "rise", "state")

    def __init__(self, rise: int, fall: int, state: Health = Health.UNKNOWN) -> None:
        self.rise = rise
        self.fall = fall
        self.state = state
        self.contrary_results = 0  # number of last results in a row that differ from `state`

    def __repr__(self) -> str:
        return f"<HealthTrack {self.state.name.lower()} contrary={self.contrary_results}>"

    def record(self, is_good: bool) -> bool:
        """Record a result, and return whether the state has changed. The first result of all decides alone."""
        result = Health.UP if is_good else Health.DOWN
        if self.state is Health.UNKNOWN:
            self.state = result
            return True
        if result is self.state:
            self.contrary_results = 0
            return False
        self.contrary_results += 1
        if self.contrary_results < (self.rise if is_good else self.fall):
            return False
        self.state = result
        self.contrary_results = 0
        return True


def ramp(since_s: float, slow_start_s: float) -> float:
    """Return the part of its weight that a target has, `since_s` seconds after it became available again."""
    if since_s >= slow_start_s:
        return 1.0
    return max(MIN_RAMP, since_s / slow_start_s)


def parse_statuses(value: int | str | list[int | str]) -> frozenset[int]:
    """Return the status codes of `expect.status`: `200`, `"200-399"`, `[200, "301-303"]`. Raises: ValueError."""
    found: set[int] = set()
    for one in value if isinstance(value, list) else [value]:
        first, dash, last = str(one).replace(" ", "").partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise ValueError(f'expected a status such as 200 or a range such as "200-399", got {clip(one)}')
        low, high = int(first), int(last or first)
        if not 100 <= low <= high <= 599:
            raise ValueError(f"expected statuses between 100 and 599, the lower one first, got {clip(one)}")
        found.update(range(low, high + 1))
    return frozenset(found)
