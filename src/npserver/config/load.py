"""Load a config: from a file, from text, or from what the command line says.

All errors in the text are reported at once, in one `ConfigError`. Errors that show only when the parts are put together
(undefined names, files that do not exist) are reported by the compilers, see `program.compile`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from npserver.config.document import Document
from npserver.config.files import ConfigFiles, read_text
from npserver.config.jsonc import JsonError, Places, parse
from npserver.config.schema import Config
from npserver.errors import ConfigError, Problem, clip

if TYPE_CHECKING:
    from npserver.config.decode import Fault
    from npserver.config.expand import Expander


def load(file: str) -> Document:
    """Load the config in `file`. Raises: ConfigError with everything that is wrong with it."""
    return load_text(read_text(file), file)


def load_text(text: str, file: str, *, has_file: bool = True, files: ConfigFiles | None = None) -> Document:
    """Load a config from `text`.

    Args:
        file: where the text comes from, for messages.
        has_file: whether that is the name of a file.
        files: reads the other files that the config names, or has what another process has read.

    Raises: ConfigError with everything that is wrong.
    """
    from npserver.config.decode import ConfigDecoder
    from npserver.config.expand import Expander, has_references
    from npserver.config.shape import SectionShape

    try:
        parsed = parse(text)
    except JsonError as error:
        line, column = Places(text, {}).at(error.offset)
        raise ConfigError([Problem(str(error), file, line, column)]) from error
    places = parsed.places
    problems = [
        Problem(f"key {clip(name)} is given twice in the same object", file, *places.at(offset))
        for offset, name in parsed.repeated
    ]
    directory = os.path.dirname(file) or "."
    files = files or ConfigFiles()
    expander = Expander(files)
    if has_references(text):
        expander.expand(parsed.value, directory)
    decoder = ConfigDecoder()
    config = decoder.convert(parsed.value, SectionShape(Config), ())
    unexpanded = {path for path, _ in expander.faults}
    problems += [Problem(message, file, *places.value(path)) for path, message in expander.faults]
    problems += [_problem(fault, places, file, expander) for fault in decoder.faults if fault.path not in unexpanded]
    document = Document(config or Config(), file, directory, places, has_file=has_file, files=files, expander=expander)
    if problems:
        lacking = frozenset(fault.path[:-1] for fault in decoder.faults if len(fault.path) > 2)
        rest = msgspec.structs.replace(document, kept=decoder.kept, gone=frozenset(decoder.gone), lacking=lacking)
        # Where a value is missing, whatever a compiler says may follow from that.
        valid_part = None if unexpanded else rest
        raise ConfigError(sorted(problems, key=lambda problem: (problem.line, problem.column)), valid_part)
    return document


def _problem(fault: Fault, places: Places, file: str, expander: Expander) -> Problem:
    line, column = places.key(fault.path) if fault.is_key else places.value(fault.path)
    return Problem(expander.hide(fault.message), file, line, column)
