"""Files that the config names, such as certificates: found and read once, so that other processes can be supplied."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from npserver.errors import clip
from npserver.tls.certificates import explain
from npserver.tls.store import CERTIFICATES

if TYPE_CHECKING:
    from npserver.config.report import Path
    from npserver.runtime.compilation import Compilation


def named_file(compilation: Compilation, path: Path, name: str) -> str | None:
    """Return the absolute path of a file; None, with an error in the report, if it cannot be read."""
    document, files = compilation.document, CERTIFICATES.of(compilation.context).files
    # A process without permission to read the file may have been supplied with it, by the path that the master found.
    beside = os.path.abspath(os.path.join(document.directory, name))
    file = beside if files.is_supplied(beside) else os.path.abspath(document.resolve(name))
    try:
        files.read(file)
        return file
    except OSError as error:
        shown = clip(name)
        if path[-1] == "key_passphrase":
            shown = "the file (not shown: if this is the passphrase itself, write it into a file)"
        elif "-----BEGIN" in name:
            shown = "this: expected the name of a file, got the content of one"
        compilation.report.error(path, f"cannot read {shown}: {explain(error)}")
        return None
