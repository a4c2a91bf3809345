"""A loaded config with the positions of all its keys and values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from npserver.config.schema import Config


@dataclass(frozen=True, slots=True)
class Document:
    """A config and where each part of it stands."""

    config: Config
    file: str  # as the user named it; "command line" when there is none
    directory: str = "."  # relative paths in the config start here
    positions: dict[tuple[str | int, ...], tuple[int, int]] = field(default_factory=dict)  # path to (line, column)

    def position(self, path: tuple[str | int, ...]) -> tuple[int, int]:
        """Line and column of the value at `path`, or of the nearest part around it; (0, 0) if none is known."""
        for end in range(len(path), -1, -1):
            if place := self.positions.get(path[:end]):
                return place
        return (0, 0)

    def place(self, path: tuple[str | int, ...]) -> str:
        """`file:line:column` of the value at `path`, for messages."""
        line, column = self.position(path)
        return f"{self.file}:{line}:{column}" if line else self.file
