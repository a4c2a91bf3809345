"""Where a config comes from and how it is read again: a file, the command line, or both."""

from __future__ import annotations

import os
from collections.abc import Callable

from msgspec import Struct

from npserver.config.document import COMMAND_LINE, Document
from npserver.config.load import load_text, read
from npserver.config.schema import Config


class ConfigSource(Struct, frozen=True):
    """A config that can be read again. Children get it by fork; only the text travels to them on a reload."""

    file: str  # as the user named it; "" when there is only the command line
    amend: Callable[[Document], Document] = lambda document: document  # puts in what the command line says

    def read(self) -> str:
        """Read the file. Raises: ConfigError."""
        return read(self.file) if self.file else ""

    def document(self, text: str) -> Document:
        """Make the config of what `read` gave. Raises: ConfigError."""
        return self.amend(load_text(text, self.file) if self.file else Document(Config(), COMMAND_LINE))

    def changed_at(self) -> tuple[int, int] | None:
        """Time of the last change and size of the file; None when there is none to see."""
        try:
            status = os.stat(self.file)
        except OSError:
            return None
        return (status.st_mtime_ns, status.st_size)
