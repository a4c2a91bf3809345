"""A whole config, compiled: what every process holds and a reload swaps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.config.document import Document
    from npserver.errors import Problem
    from npserver.listen.listener import Listener
    from npserver.observe.access_output import CompiledLog
    from npserver.runtime.front import DatagramFront, Service, StreamFront
    from npserver.upstream.registry import NamedTarget


class Runtime(Struct, frozen=True):
    """One config's live objects in one process."""

    document: Document
    listeners: tuple[Listener, ...]
    fronts: dict[str, StreamFront | DatagramFront]  # by Listener.key
    services: tuple[Service, ...]  # for the controller to run
    warnings: tuple[Problem, ...]
    summary: tuple[tuple[str, str], ...]  # per rule: listener, what it does; for the table at the start
    logs: tuple[CompiledLog, ...] = ()  # of each access log; empty if none has settings to compile
    targets: tuple[NamedTarget, ...] = ()  # of its upstreams and rules
    activations: tuple[Callable[[], None], ...] = ()  # called when it has become the active config

    def close(self) -> None:
        """Another runtime has taken over."""
        for front in self.fronts.values():
            front.close()
