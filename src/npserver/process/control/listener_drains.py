"""The drains of listeners: which take no new clients, as the operator has said. `process.control.drains` has targets'.

They are kept by the process that owns the sockets, and published to all others, also to those that start later. They
last over reloads as long as the config names the listener, and end with the server.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from npserver.address import parse_listen
from npserver.errors import clip
from npserver.listen.drains import LISTENER_DRAINS, counter_of, drained_listeners
from npserver.process.control.listener_draining import SEEN
from npserver.program.summary import label_listener

if TYPE_CHECKING:
    from npserver.listen.binding import Binding
    from npserver.listen.listener import Listener
    from npserver.process.control.host import Host

log = logging.getLogger("npserver.server")


class ListenerDrains:
    """Begins, ends and watches drains of listeners."""

    __slots__ = ("_host", "_seen_slot", "_told")

    def __init__(self, host: Host) -> None:
        self._host = host
        self._seen_slot = host.board.directory.slot(SEEN)
        self._told: set[str] = set()  # names of those that are known to be empty

    def find(self, name: str) -> list[Listener]:
        """Return the listeners that are meant by a name, a URI, a range of ports, or a host and port.

        The UDP port of HTTP/3 belongs to its listener.
        """
        try:
            uri = str(parse_listen(name, None))  # in the form of keys
        except ValueError:
            uri = name
        every = self._host.runtime().listeners
        found = [
            one
            for one in every
            if not one.port_of
            and (name in (one.name, one.group, one.key.partition("://")[2]) or uri in (one.key, str(one.address)))
        ]
        keys = {one.key for one in found}
        return found + [one for one in every if one.port_of in keys]

    def names(self) -> list[str]:
        """Return the names of all."""
        return sorted({one.name for one in self._host.runtime().listeners})

    def begin(self, found: list[Listener], wait_s: float | None) -> str:
        """Drain listeners; return why not, or "". `wait_s`: after which what is left is ended."""
        drained = self._drained
        begun: list[Binding] = []
        for one in found:
            binding = self._host.bindings.current[one.key]
            try:
                if not binding.is_drained:
                    binding.drain()
                    begun.append(binding)
            except OSError as error:
                for other in begun:
                    other.undrain()
                return f"listener {one.name} cannot be drained: {error.strerror}: {error.filename or one.key}"
        now = time.monotonic()
        deadline = now + wait_s if wait_s is not None else 0.0
        new = {one.key: {"since": now, "deadline": deadline, "label": label_listener(one)} for one in found}
        for key, drain in new.items():
            drain["since"] = drained.get(key, drain)["since"]
        self._publish(drained | new)
        until = f"; what is left after {wait_s:g} s is ended (-wait)" if wait_s is not None else ""
        for name in _named(found):
            self._told.discard(name)
            log.info("listener %s is drained (npserver drain)%s", name, until)
        return ""

    def end(self, found: list[Listener], name: str) -> str:
        """Take clients again on listeners, which were found by `name`; return why not, or ""."""
        ended = [one for one in found if one.key in self._drained]
        if not ended:
            return f"{clip(name)} is not drained"
        for one in ended:
            try:
                self._host.bindings.current[one.key].undrain()
            except OSError as error:
                return f"listener {one.name} takes no clients: {error.strerror}"
        keys = {one.key for one in ended}
        self._publish({key: drain for key, drain in self._drained.items() if key not in keys})
        for each in _named(ended):
            log.info("listener %s takes clients again (npserver undrain)", each)
        return ""

    def keep(self) -> None:
        """Forget the drains of listeners that the config does not name any more; called after a reload."""
        drained = self._drained
        named = {one.key for one in self._host.runtime().listeners}
        if gone := drained.keys() - named:
            self._publish({key: drain for key, drain in drained.items() if key in named})
            for key in sorted(gone):
                log.info("the drain of listener %s has ended: the config does not name it", key)

    def left(self, found: list[Listener]) -> dict[str, Any]:
        """Return `active`, the number of connections and sessions of drained listeners, and `is_empty`.

        Both are known when all workers have stopped accepting; `active` is None until then.
        """
        value, board = self._value, self._host.board
        if any(one.key not in value["listeners"] for one in found) or not found:
            return {"active": 0, "is_empty": False, "is_drained": False}
        has_seen = all(row[self._seen_slot] >= value["number"] for row in board.rows[1:])
        slots = [board.directory.names.get(name) for name in {counter_of(one) for one in found}]
        active = sum(board.total(slot) for slot in slots if slot is not None)
        if has_seen and not active:
            for name in set(_named(found)) - self._told:
                self._told.add(name)
                log.info("listener %s is drained and empty", name)
        is_empty = has_seen and not active
        return {"active": active if has_seen else None, "is_empty": is_empty, "is_drained": True}

    @property
    def _value(self) -> dict[str, Any]:
        value: dict[str, Any] = self._host.latest().get(LISTENER_DRAINS) or {"number": 0, "listeners": {}}
        return value

    @property
    def _drained(self) -> dict[str, Any]:
        return drained_listeners(self._host.latest())

    def _publish(self, listeners: dict[str, Any]) -> None:
        self._host.publish(LISTENER_DRAINS, {"number": self._value["number"] + 1, "listeners": listeners})


def _named(listeners: list[Listener]) -> list[str]:
    """Return the names of listeners, each once: those of a range share it, and so does the UDP port of HTTP/3."""
    return list(dict.fromkeys(one.name for one in listeners))
