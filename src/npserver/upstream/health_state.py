"""When a target counts as well: results of active checks in a row, and how a target that came back is eased in."""

from __future__ import annotations

from enum import IntEnum

MIN_RAMP = 0.1  # of its weight is what a target starts with that came back


class Health(IntEnum):
    """What active checks say of a target. The values stand on the scoreboard."""

    DOWN = -1
    UNKNOWN = 0  # not checked yet (or never): used
    UP = 1


class HealthTrack:
    """The results of one target's checks in a row."""

    __slots__ = ("fall", "rise", "run", "state")

    def __init__(self, rise: int, fall: int, state: Health = Health.UNKNOWN) -> None:
        self.rise = rise
        self.fall = fall
        self.state = state
        self.run = 0  # results in a row that speak against `state`

    def __repr__(self) -> str:
        return f"<HealthTrack {self.state.name.lower()} against={self.run}>"

    def record(self, is_good: bool) -> bool:
        """Take a result. True: the state has changed. The very first result decides alone."""
        result = Health.UP if is_good else Health.DOWN
        if self.state is Health.UNKNOWN:
            self.state = result
            return True
        if result is self.state:
            self.run = 0
            return False
        self.run += 1
        if self.run < (self.rise if is_good else self.fall):
            return False
        self.state = result
        self.run = 0
        return True


def ramp(since_s: float, slow_start_s: float) -> float:
    """The part of its weight that a target has `since_s` seconds after it came back."""
    if since_s >= slow_start_s:
        return 1.0
    return max(MIN_RAMP, since_s / slow_start_s)


def parse_statuses(value: int | str | list[int | str]) -> frozenset[int]:
    """Read status codes and ranges: `200`, `"200-399"`, `[200, "301-303"]`. Raises: ValueError."""
    found: set[int] = set()
    for one in value if isinstance(value, list) else [value]:
        first, dash, last = str(one).replace(" ", "").partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise ValueError(f'expected a status such as 200 or a range such as "200-399", got {one!r}')
        low, high = int(first), int(last or first)
        if not 100 <= low <= high <= 599:
            raise ValueError(f"a status lies between 100 and 599, got {one!r}")
        found.update(range(low, high + 1))
    return frozenset(found)
