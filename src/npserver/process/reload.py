"""A reload under way: every process compiles the new config first; only when all have done so do they swap to it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

if TYPE_CHECKING:
    from npserver.config.document import Document
    from npserver.listen.binding import Binding
    from npserver.process.children import Child
    from npserver.program.runtime import Runtime

PREPARE_WITHIN_S = 30.0


class Reload(Struct):
    """The new config and who has not compiled it yet."""

    text: str
    document: Document
    runtime: Runtime
    bindings: dict[str, Binding]
    new_keys: frozenset[str]  # listeners bound for it
    slots: dict[str, int]
    places: list[tuple[dict[str, Any], int]]  # of certificates: `CertificateStore.places`
    awaited: set[Child] = field(default_factory=set)
    deadline: float = field(default_factory=lambda: time.monotonic() + PREPARE_WITHIN_S)

    def propose(self, child: Child) -> None:
        """First step: hand over the new sockets and the text."""
        self.awaited.add(child)
        if child.role >= 0:
            for key in sorted(self.new_keys):
                sockets = self.bindings[key].sockets[child.role]
                child.send({"kind": "sockets", "key": key}, [one.fileno() for one in sockets])
        child.send({"kind": "prepare", "text": self.text, "slots": self.slots, "places": self.places})
