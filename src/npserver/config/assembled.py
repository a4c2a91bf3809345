"""A config as one JSON value, put together by `config.assemble` and not decoded yet."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from npserver.config.expand import Expander
from npserver.config.jsonc import Path, Places
from npserver.config.places import MergedPlaces
from npserver.errors import Problem


class Assembled(Struct):
    """A config as one JSON value."""

    value: Any
    file: str  # the main one
    places: Places
    expander: Expander
    problems: list[Problem] = field(default_factory=list)
    is_whole: bool = True  # whether every value and every file is there
    unused: tuple[str, ...] = ()  # the sets in `defaults` that no rule uses

    def file_of(self, path: Path) -> str:
        """Return the file in which the value at `path` stands."""
        return self.places.file(path) or self.file

    def merged_places(self) -> MergedPlaces:
        """Return the places as those of several files, or of parts that stand elsewhere."""
        if not isinstance(self.places, MergedPlaces):
            self.places = MergedPlaces(self.file, self.places)
        return self.places

    def add(self, path: Path, message: str) -> None:
        """Add a problem with the value at `path` of the whole."""
        line, column = self.places.value(path)
        self.problems.append(Problem(self.expander.hide(message), self.file_of(path), line, column))
