"""The source of a config, which a reload reads again: a file, the command line, or both."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from npserver.config.document import COMMAND_LINE, Document
from npserver.config.files import ConfigFiles, State, read_text, state_of
from npserver.config.load import load_text
from npserver.config.schema import Config


class ConfigSource(Struct, frozen=True):
    """A config that can be read again. Children inherit it by fork; a reload sends them what it has read."""

    file: str  # as the user named it; "" if the config is given on the command line only
    amend: Callable[[Document], Document] = lambda document: document  # applies the command line to the file's config

    def read(self) -> str:
        """Return the text of the file. Raises: ConfigError."""
        return read_text(self.file) if self.file else ""

    def document(self, text: str, files: ConfigFiles | None = None) -> Document:
        """Return the config of `text`, which `read` returned, amended by the command line.

        `files` reads the other files of the config. Raises: ConfigError.
        """
        return self.amend(load_text(text, self.file, files=files) if self.file else Document(Config(), COMMAND_LINE))

    def state(self) -> State | None:
        """Return a value that changes with the file; None if there is no such file."""
        return state_of(self.file)
