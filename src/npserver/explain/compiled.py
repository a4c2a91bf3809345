"""A config, compiled to be asked: what all explanations read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from npserver.program.assignment import ASSIGNED

if TYPE_CHECKING:
    from npserver.config.document import Document
    from npserver.config.report import Path
    from npserver.listen.listener import Listener
    from npserver.program.runtime import Runtime
    from npserver.runtime.compilation import Compilation
    from npserver.web.config import Rule


class CompiledConfig(Struct, frozen=True):
    """A compiled config, with what its compilers have shared."""

    compilation: Compilation
    runtime: Runtime

    @property
    def document(self) -> Document:
        """The config and where each part of it stands."""
        return self.compilation.document

    def rules_of(self, listener: Listener) -> list[tuple[int, Rule]]:
        """Return the rules of a listener, each with its index in `dispatch`; -1: the rule of a listener without any."""
        return ASSIGNED.of(self.compilation).get(listener.key, [])

    def place(self, path: Path) -> str:
        """Return `file:line:column` of a value; "" for one that stands nowhere."""
        line, _ = self.document.position(path)
        return self.document.place(path) if line else ""

    def place_of_key(self, key: str) -> str:
        """Return the place of a config key as log lines write it: `dispatch[3].root`."""
        parts: list[str | int] = []
        for part in key.split("."):
            name, *indices = part.replace("]", "").split("[")
            if name:
                parts.append(name)
            parts += [int(index) for index in indices if index.isdecimal()]
        return self.place(tuple(parts))
