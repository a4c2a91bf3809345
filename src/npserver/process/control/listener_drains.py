"""The drains of listeners: which take no new clients, as the operator has said."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from npserver.address import parse_listen
from npserver.errors import clip
from npserver.listen.drains import LISTENER_DRAINS, counter_of
from npserver.process.control.listener_draining import SEEN
from npserver.process.control.published_drains import PublishedDrains
from npserver.program.summary import label_listener

if TYPE_CHECKING:
    from npserver.listen.binding import Binding
    from npserver.listen.listener import Listener
    from npserver.process.control.host import Host

log = logging.getLogger("npserver.server")


class ListenerDrains(PublishedDrains):
    """Begins, ends and watches drains of listeners."""

    __slots__ = ()

    def __init__(self, host: Host) -> None:
        super().__init__(host, LISTENER_DRAINS, "listeners", SEEN)

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
        until = self._begin({one.key: {"label": label_listener(one)} for one in found}, wait_s)
        for name in _named(found):
            log.info("listener %s is drained (npserver drain)%s", name, until)
        return ""

    def end(self, found: list[Listener], name: str) -> str:
        """Take clients again on listeners, which were found by `name`; return why not, or ""."""
        drained = self._drained
        ended = [one for one in found if one.key in drained]
        if not ended:
            return f"{clip(name)} is not drained"
        for one in ended:
            try:
                self._host.bindings.current[one.key].undrain()
            except OSError as error:
                return f"listener {one.name} takes no clients: {error.strerror}"
        self._end({one.key for one in ended})
        for each in _named(ended):
            log.info("listener %s takes clients again (npserver undrain)", each)
        return ""

    def keep(self) -> None:
        """Forget the drains of listeners that the config does not name any more, and have the labels of the others as
        it gives them; called after a reload."""
        listeners = {one.key: one for one in self._host.runtime().listeners}
        for key in self._keep(listeners):
            log.info("the drain of listener %s has ended: the config does not name it", key)
        drained = self._drained
        labelled = {key: drain | {"label": label_listener(listeners[key])} for key, drain in drained.items()}
        if labelled != drained:
            self._publish(labelled)

    def left(self, found: list[Listener]) -> dict[str, Any]:
        """Return `active`, the number of connections and sessions of drained listeners, and `is_empty`.

        Both are known when all workers have stopped accepting; `active` is None until then.
        """
        drained = self._drained
        if any(one.key not in drained for one in found):
            return {"active": 0, "is_empty": False, "is_drained": False}
        active = self._active(found) if self._has_seen else None
        return {"active": active, "is_empty": active == 0, "is_drained": True}

    def tell_empty(self) -> None:
        """Tell in the log which drained listeners have become empty; called now and then."""
        untold = self._untold
        if untold and self._has_seen:
            found = [one for one in self._host.runtime().listeners if one.key in untold]
            for name in _named(found):
                ports = [one for one in found if one.name == name]
                if not self._active(ports):
                    self._told.update(one.key for one in ports)
                    log.info("listener %s is drained and empty", name)

    def _active(self, found: list[Listener]) -> int:
        board = self._host.board
        slots = [board.directory.names.get(name) for name in {counter_of(one) for one in found}]
        return sum(board.total(slot) for slot in slots if slot is not None)


def _named(listeners: list[Listener]) -> list[str]:
    """Return the names of listeners, each once: those of a range share it, and so does the UDP port of HTTP/3."""
    return list(dict.fromkeys(one.name for one in listeners))
