"""The drains of targets: which get no new requests and connections, as the operator or a status page has said."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from npserver.dns.zone.compile import MAX_UPSTREAM_TTL_S
from npserver.errors import clip
from npserver.guess import get_close_matches
from npserver.process.control.draining import SEEN
from npserver.process.control.published_drains import PublishedDrains
from npserver.upstream.registry import DRAINS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from npserver.process.control.host import Host
    from npserver.upstream.registry import NamedTarget

log = logging.getLogger("npserver.upstream")

DNS_REFRESH_S = 1.0  # after this long all workers answer without the target


class Drains(PublishedDrains):
    """Begins, ends and watches drains of targets."""

    __slots__ = ()

    def __init__(self, host: Host) -> None:
        super().__init__(host, DRAINS, "targets", SEEN)

    def begin(self, name: str, wait_s: float | None, *, is_forced: bool, by: str = "") -> str:
        """Drain the targets with this name; return why not, or "".

        `wait_s`: after which sessions are ended; `by`: who has asked, if not the command.
        """
        found = self.find(name)
        if not found:
            return self.unknown(name, [])
        for one in found:
            if not is_forced and not one.waits and not self._has_other(one, [each.key for each in found]):
                return (
                    f"{one.uri} is the last target of {_of(one)} that can be used, so its clients would be refused: "
                    'add another target, or give the upstream "wait"'
                    f"{'' if by else '; -force drains it all the same'}"
                )
        until = self._begin({one.key: {"is_named": self._is_named(one)} for one in found}, wait_s)
        for one in found:
            log.info("target %s of %s is drained (%s)%s", one.uri, _of(one), by or "npserver drain", until)
        return ""

    def end(self, name: str, *, by: str = "") -> str:
        """Use the targets with this name again; return why not, or "". `by`: who has asked, if not the command."""
        draining = self._drained
        found = [one for one in self.find(name) if one.key in draining]
        if not found:
            return f"{clip(name)} is not drained"
        self._end({one.key for one in found})
        for one in found:
            log.info("target %s of %s gets requests again (%s)", one.uri, _of(one), by or "npserver undrain")
        return ""

    def keep(self) -> None:
        """Forget the drains of targets that the config does not name any more; called after a reload."""
        for key in self._keep({one.key for one in self._host.runtime().targets}):
            log.info("the drain of target %s has ended: the config does not name it", key.rpartition(" ")[2])

    def left(self, name: str) -> dict[str, Any]:
        """Return `active`, the number of requests and connections of the targets with this name, and `is_empty`.

        It is empty when all workers know of the drain, nothing is active, and no resolver may still name it.
        """
        found, draining = self.find(name), self._drained
        if not found or any(one.key not in draining for one in found):
            return {"active": 0, "is_empty": False, "is_drained": False}
        is_empty = self._has_seen and all(map(self._is_empty, found))
        return {"active": sum(map(self._active, found)), "is_empty": is_empty, "is_drained": True}

    def tell_empty(self) -> None:
        """Tell in the log which drained targets have become empty; called now and then."""
        untold = self._untold
        if untold and self._has_seen:
            for one in self._host.runtime().targets:
                if one.key in untold and self._is_empty(one):
                    self._told.add(one.key)
                    log.info("target %s of %s is drained and empty", one.uri, _of(one))

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

    def _active(self, one: NamedTarget) -> int:
        slot = self._host.board.directory.names.get(f"gauge.upstream.{one.upstream}.{one.uri}.active")
        return 0 if slot is None else max(0, self._host.board.total(slot))

    def _is_empty(self, one: NamedTarget) -> bool:
        """Whether a drained target has nothing more, once all workers know of the drain."""
        drain = self._drained[one.key]
        named_until = drain["since"] + MAX_UPSTREAM_TTL_S + DNS_REFRESH_S if drain["is_named"] else 0.0
        return time.monotonic() >= named_until and not self._active(one)

    def _has_other(self, one: NamedTarget, leaving: list[str]) -> bool:
        """Whether another target of the upstream can take the requests."""
        draining, board = self._drained, self._host.board
        for other in self._host.runtime().targets:
            key = other.key
            if other.upstream != one.upstream or not other.weight or key in leaving or key in draining:
                continue
            slot = board.directory.names.get(f"health.{other.upstream}.{other.uri}")
            if slot is None or board.total(slot) >= 0:
                return True
        return False

    def _is_named(self, one: NamedTarget) -> bool:
        """Whether records of the config have the addresses of the target's upstream: resolvers may know them yet."""
        config = self._host.runtime().document.config
        return f"'upstream://{one.upstream}'" in repr((config.dns, config.dns_views))


def _of(one: NamedTarget) -> str:
    return "a rule" if one.upstream == one.uri else f"upstream {one.upstream}"
