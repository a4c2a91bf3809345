"""The drains of a server: which targets get no new requests and connections, as its operator has said.

They are kept by the process that has the control socket, and published to all others, also to those that start later.
They last over reloads as long as the config names the target, and end with the server. Times are those of
`time.monotonic`, which all processes of a machine share: a jump of the clock ends no drain.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from npserver.dns.zone.compile import MAX_UPSTREAM_TTL_S
from npserver.errors import clip
from npserver.guess import get_close_matches
from npserver.process.control.draining import SEEN
from npserver.upstream.registry import DRAINS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from npserver.process.control.host import Host
    from npserver.upstream.registry import NamedTarget

log = logging.getLogger("npserver.upstream")

DNS_REFRESH_S = 1.0  # after this long all workers answer without the target
_NONE: dict[str, Any] = {"number": 0, "targets": {}}


class Drains:
    """Begins, ends and watches drains."""

    __slots__ = ("_host", "_seen_slot", "_told")

    def __init__(self, host: Host) -> None:
        self._host = host
        self._seen_slot = host.board.directory.slot(SEEN)
        self._told: set[str] = set()  # keys of those that are known to be empty

    def begin(self, name: str, wait_s: float | None, *, is_forced: bool, by: str = "") -> str:
        """Drain the targets with this name; return why not, or "".

        `wait_s`: after which sessions are ended; `by`: who has asked, if not the command.
        """
        found = self.find(name)
        if not found:
            return self.unknown(name, [])
        draining = self._value["targets"]
        for one in found:
            if not is_forced and not one.waits and not self._has_other(one, [each.key for each in found]):
                return (
                    f"{one.uri} is the last target of {_of(one)} that can be used, so its clients would be refused: "
                    'add another target, or give the upstream "wait"'
                    f"{'' if by else '; -force drains it all the same'}"
                )
        now = time.monotonic()
        deadline = now + wait_s if wait_s is not None else 0.0
        new = {one.key: {"since": now, "deadline": deadline} for one in found}
        for key, drain in new.items():
            drain["since"] = draining.get(key, drain)["since"]
        self._publish(draining | new)
        self._told -= new.keys()
        until = f"; what is left after {wait_s:g} s is ended (-wait)" if wait_s is not None else ""
        for one in found:
            log.info("target %s of %s is drained (%s)%s", one.uri, _of(one), by or "npserver drain", until)
        return ""

    def end(self, name: str, *, by: str = "") -> str:
        """Use the targets with this name again; return why not, or "". `by`: who has asked, if not the command."""
        draining = self._value["targets"]
        found = [one for one in self.find(name) if one.key in draining]
        if not found:
            return f"{clip(name)} is not drained"
        ended = {one.key for one in found}
        self._publish({key: drain for key, drain in draining.items() if key not in ended})
        for one in found:
            log.info("target %s of %s gets requests again (%s)", one.uri, _of(one), by or "npserver undrain")
        return ""

    def keep(self) -> None:
        """Forget the drains of targets that the config does not name any more; called after a reload."""
        draining = self._value["targets"]
        named = {one.key for one in self._host.runtime().targets}
        if gone := draining.keys() - named:
            self._publish({key: drain for key, drain in draining.items() if key in named})
            for key in sorted(gone):
                log.info("the drain of target %s has ended: the config does not name it", key.rpartition(" ")[2])

    def left(self, name: str) -> dict[str, Any]:
        """Return `active`, the number of requests and connections of the targets with this name, and `is_empty`.

        It is empty when all workers know of the drain, nothing is active, and no resolver may still name it.
        """
        active, is_settled = 0, True
        number, draining = self._value["number"], self._value["targets"]
        has_seen = all(row[self._seen_slot] >= number for row in self._host.board.rows[1:])
        for one in self.find(name):
            key = one.key
            if key not in draining:
                return {"active": 0, "is_empty": False, "is_drained": False}
            slot = self._host.board.directory.names.get(f"gauge.upstream.{one.upstream}.{one.uri}.active")
            count = 0 if slot is None else max(0, self._host.board.total(slot))
            named_until = draining[key]["since"] + MAX_UPSTREAM_TTL_S + DNS_REFRESH_S
            is_named = time.monotonic() < named_until and self._may_be_named(one)
            active += count
            is_settled &= has_seen and not is_named
            if not count and has_seen and not is_named and key not in self._told:
                self._told.add(key)
                log.info("target %s of %s is drained and empty", one.uri, _of(one))
        return {"active": active, "is_empty": is_settled and not active, "is_drained": True}

    def find(self, name: str) -> list[NamedTarget]:
        """Return the targets that are meant by a URI, or by a host and port."""
        named: Sequence[NamedTarget] = self._host.runtime().targets
        return [one for one in named if name in (one.uri, one.uri.partition("://")[2])]

    def unknown(self, name: str, listeners: list[str]) -> str:
        """Return why nothing is found by a name. `listeners`: the names of listeners."""
        uris = sorted({one.uri for one in self._host.runtime().targets})
        close = get_close_matches(name, uris + listeners, 3)
        if close:
            return f"the config has no target or listener {clip(name)}: did you mean {' or '.join(close)}?"
        known = f"targets {', '.join(uris[:10]) or 'none'}; listeners {', '.join(listeners[:10]) or 'none'}"
        return f"the config has no target or listener {clip(name)}: it has {known}"

    @property
    def _value(self) -> dict[str, Any]:
        value: dict[str, Any] = self._host.latest().get(DRAINS) or _NONE
        return value

    def _publish(self, targets: dict[str, Any]) -> None:
        self._host.publish(DRAINS, {"number": self._value["number"] + 1, "targets": targets})

    def _has_other(self, one: NamedTarget, leaving: list[str]) -> bool:
        """Whether another target of the upstream can take the requests."""
        draining, board = self._value["targets"], self._host.board
        for other in self._host.runtime().targets:
            key = other.key
            if other.upstream != one.upstream or not other.weight or key in leaving or key in draining:
                continue
            slot = board.directory.names.get(f"health.{other.upstream}.{other.uri}")
            if slot is None or board.total(slot) >= 0:
                return True
        return False

    def _may_be_named(self, one: NamedTarget) -> bool:
        """Whether records of the config have the addresses of the target's upstream."""
        config = self._host.runtime().document.config
        return f"'upstream://{one.upstream}'" in repr((config.dns, config.dns_views))


def _of(one: NamedTarget) -> str:
    return "a rule" if one.upstream == one.uri else f"upstream {one.upstream}"
