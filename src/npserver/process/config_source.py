"""The source of a config, which a reload reads again: a file, the command line, or both."""

from __future__ import annotations

import os
from collections.abc import Callable

from msgspec import Struct

from npserver.config.document import COMMAND_LINE, Document
from npserver.config.load import load_text, read
from npserver.config.schema import Config


class ConfigSource(Struct, frozen=True):
    """A config that can be read again. Children inherit it by fork; a reload sends them only the file's text."""

    file: str  # as the user named it; "" if the config is given on the command line only
    amend: Callable[[Document], Document] = lambda document: document  # applies the command line to the file's config

    def read(self) -> str:
        """Return the text of the file. Raises: ConfigError."""
        return read(self.file) if self.file else ""

    def document(self, text: str) -> Document:
        """Return the config of `text`, which `read` returned, amended by the command line. Raises: ConfigError."""
        return self.amend(load_text(text, self.file) if self.file else Document(Config(), COMMAND_LINE))

    def state(self) -> tuple[int, int, int] | None:
        """Return a value that changes with the file; None if there is no such file.

        A new file may have the time and size of the old one (Nix, archives), but not its inode.
        """
        try:
            status = os.stat(self.file)
        except OSError:
            return None
        return (status.st_mtime_ns, status.st_ino, status.st_size)
