"""A loaded config with the positions of all its keys and values."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from npserver.config.files import ConfigFiles
from npserver.config.jsonc import Path, Places

if TYPE_CHECKING:
    from npserver.config.expand import Expander
    from npserver.config.schema import Config

COMMAND_LINE = "command line"


def _nowhere() -> Places:
    return Places("", {})


class Document(Struct, frozen=True, eq=False):
    """A config and where each part of it stands."""

    config: Config
    file: str  # as the user named it; "command line" when there is none
    directory: str = "."  # relative paths in the config start here, see `resolve`
    places: Places = field(default_factory=_nowhere)
    from_arguments: frozenset[Path] = frozenset()  # of values that the command line has added to those of the file
    #: Of a text with faults, see `config.decode`: which items lists have kept, and sections that lack something.
    kept: dict[Path, list[int]] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()
    #: The paths of objects that lack a key because it is faulty: an error about the whole object may be another's echo.
    lacking: frozenset[Path] = frozenset()
    has_file: bool = False  # `file` names one
    files: ConfigFiles = field(default_factory=ConfigFiles)  # the others that the config is made of
    unused: tuple[str, ...] = ()  # the sets in `defaults` that no rule uses
    expander: Expander | None = None  # has the values of variables and files, which messages must not have
    #: What compilers made of parts that hold no live object, by its own keys: the master makes it for all children.
    compiled: dict[str, Any] = field(default_factory=dict)

    def position(self, path: Path) -> tuple[int, int]:
        """Line and column of the value at `path`, or of the nearest part around it; (0, 0) if none is known."""
        return (0, 0) if self._is_argument(path) else self.places.value(self._written(path))

    def key_position(self, path: Path) -> tuple[int, int]:
        """Line and column of the key at `path`, or of the nearest part around it; (0, 0) if none is known."""
        return (0, 0) if self._is_argument(path) else self.places.key(self._written(path))

    def origin(self, path: Path) -> str:
        """Return the source of the value at `path`: the name of the file, or the command line."""
        return COMMAND_LINE if self._is_argument(path) else self.places.file(self._written(path)) or self.file

    def user(self, path: Path) -> str:
        """Return the place of the rule that has the value at `path` from `defaults`; "" for a value of its own."""
        return "" if self._is_argument(path) else self.places.user(self._written(path))

    def hide(self, message: str) -> str:
        """Return a message without the values of variables and files, see `config.expand`."""
        return message if self.expander is None else self.expander.hide(message)

    def place(self, path: Path) -> str:
        """`file:line:column` of the value at `path`, for messages."""
        line, column = self.position(path)
        return f"{self.origin(path)}:{line}:{column}" if line else self.origin(path)

    def resolve(self, name: str) -> str:
        """Return the path of a file that the config names.

        Relative ones start at the config file's directory if there is such a file, else at the working directory. A
        worker that starts later has the same path, whatever has become of the file.
        """
        key = f"path:{name}"
        path: str | None = self.compiled.get(key)
        if path is None:
            beside = os.path.join(self.directory, name)
            path = self.compiled[key] = beside if os.path.exists(beside) else name
        return path

    def read(self, name: str, max_bytes: int) -> bytes:
        """Return the content of a file that the config names; of one that is too long, one byte more than allowed.

        It is read once: a worker that starts later has the same, whatever has become of the file. Raises: OSError.
        """
        key = f"file:{max_bytes}:{name}"
        content: bytes | None = self.compiled.get(key)
        if content is None:
            with open(self.resolve(name), "rb") as file:
                content = self.compiled[key] = file.read(max_bytes + 1)
        return content

    def is_doubtful(self, path: Path) -> bool:
        """Whether something wrong at `path` may only follow from a fault that has taken away what it names."""
        if len(path) == 1 and path[0] in self.gone:
            return True  # such as a list that is empty now
        if self._original(path) in self.lacking:
            return True  # such as one that needs the faulty key
        from npserver.config.shape import key_references

        references = key_references(type(self.config), *{type(rule) for rule in self.config.dispatch})
        return any(not references.get(section, set()).isdisjoint(path) for section in self.gone)

    def _written(self, path: Path) -> Path:
        return self._original(path) if self.kept else path

    def _original(self, path: Path) -> Path:
        """Return the path in the text of the value at `path` in a config whose faulty items were removed."""
        found: Path = ()
        for part in path:
            kept = self.kept.get(found)  # by the text's own places
            found = (*found, kept[part] if kept is not None and isinstance(part, int) and part < len(kept) else part)
        return found

    def _is_argument(self, path: Path) -> bool:
        return (
            any(path[:end] in self.from_arguments for end in range(1, len(path) + 1)) if self.from_arguments else False
        )
