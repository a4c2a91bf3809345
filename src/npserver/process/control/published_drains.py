"""What the drains of targets and those of listeners have in common: how they are kept, and told of.

They are kept by the process that has the control socket, and published to all others, also to those that start later.
They last over reloads as long as the config names what is drained, and end with the server. Times are those of
`time.monotonic`, which all processes of a machine share: a jump of the clock ends no drain.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from npserver.process.control.host import Host


class PublishedDrains:
    """The drains of one kind, by the keys of what is drained."""

    __slots__ = ("_host", "_kind", "_seen_slot", "_told", "_topic")

    def __init__(self, host: Host, topic: str, kind: str, seen: str) -> None:
        """Create it.

        Args:
            topic: of the published value, `{"number": 3, kind: {key: {"since": 1234.5, "deadline": 0.0}}}`.
            kind: "targets" or "listeners".
            seen: the slot of the number that a worker has last heard of.
        """
        self._host = host
        self._topic = topic
        self._kind = kind
        self._seen_slot = host.board.directory.slot(seen)
        self._told: set[str] = set()  # keys of those that are known to be empty

    @property
    def _drained(self) -> dict[str, Any]:
        value: dict[str, Any] = self._host.latest().get(self._topic) or {}
        return value.get(self._kind) or {}

    @property
    def _number(self) -> int:
        value: dict[str, Any] = self._host.latest().get(self._topic) or {}
        return int(value.get("number", 0))

    @property
    def _has_seen(self) -> bool:
        """Whether all workers know of the drains."""
        number = self._number
        return all(row[self._seen_slot] >= number for row in self._host.board.rows[1:])

    @property
    def _untold(self) -> set[str]:
        return self._drained.keys() - self._told

    @property
    def awaits_end(self) -> bool:
        """Whether something is drained that is not known to be empty."""
        return bool(self._untold)

    def _begin(self, keys: Mapping[str, dict[str, Any]], wait_s: float | None) -> str:
        """Drain these, with what is published of each. Return the end of the line of the log."""
        now, drained = time.monotonic(), self._drained
        deadline = now + wait_s if wait_s is not None else 0.0
        begun = {key: drained[key]["since"] if key in drained else now for key in keys}
        new = {key: {"since": begun[key], "deadline": deadline, **more} for key, more in keys.items()}
        self._told -= new.keys()
        self._publish(drained | new)
        return f"; what is left after {wait_s:g} s is ended (-wait)" if wait_s is not None else ""

    def _end(self, keys: Collection[str]) -> None:
        self._told.difference_update(keys)
        self._publish({key: drain for key, drain in self._drained.items() if key not in keys})

    def _keep(self, named: Collection[str]) -> list[str]:
        """Forget the drains of what the config does not name any more. Return the keys, in order."""
        gone = sorted(self._drained.keys() - named)
        if gone:
            self._end(gone)
        return gone

    def _publish(self, drained: dict[str, Any]) -> None:
        self._host.publish(self._topic, {"number": self._number + 1, self._kind: drained})
