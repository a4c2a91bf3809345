"""A loaded config with the positions of all its keys and values."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from npserver.config.jsonc import Path, Places

if TYPE_CHECKING:
    from npserver.config.schema import Config

COMMAND_LINE = "command line"


def _nowhere() -> Places:
    return Places("", {})


@dataclass(frozen=True, slots=True)
class Document:
    """A config and where each part of it stands."""

    config: Config
    file: str  # as the user named it; "command line" when there is none
    directory: str = "."  # relative paths in the config start here, see `resolve`
    places: Places = field(default_factory=_nowhere, repr=False, compare=False)
    from_arguments: frozenset[Path] = frozenset()  # what the command line put in beside the file
    #: What `build` made of parts that hold no live object, by its own keys: the master makes it for all children.
    compiled: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def position(self, path: Path) -> tuple[int, int]:
        """Line and column of the value at `path`, or of the nearest part around it; (0, 0) if none is known."""
        return (0, 0) if self._is_argument(path) else self.places.value(path)

    def key_position(self, path: Path) -> tuple[int, int]:
        """Line and column of the key at `path`, or of the nearest part around it; (0, 0) if none is known."""
        return (0, 0) if self._is_argument(path) else self.places.key(path)

    def origin(self, path: Path) -> str:
        """Where the value at `path` comes from: the file, or the command line."""
        return COMMAND_LINE if self._is_argument(path) else self.file

    def place(self, path: Path) -> str:
        """`file:line:column` of the value at `path`, for messages."""
        line, column = self.position(path)
        return f"{self.file}:{line}:{column}" if line else self.origin(path)

    def resolve(self, name: str) -> str:
        """Give the path of a file that the config names.

        Relative ones start at the config file's directory if there is such a file, else at the working directory.
        """
        beside = os.path.join(self.directory, name)
        return beside if os.path.exists(beside) else name

    def _is_argument(self, path: Path) -> bool:
        return (
            any(path[:end] in self.from_arguments for end in range(1, len(path) + 1)) if self.from_arguments else False
        )
