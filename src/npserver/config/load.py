"""Load a config: from a file, from text, or from what the command line says.

All errors in the text are reported at once, in one `ConfigError`. Errors that show only when the parts are put together
(undefined names, files that do not exist) are reported by the compilers, see `program.compile`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from npserver.config.document import Document
from npserver.config.jsonc import JsonError, Places, parse
from npserver.config.schema import Config
from npserver.errors import ConfigError, Problem, clip

if TYPE_CHECKING:
    from npserver.config.decode import Fault

MAX_FILE_BYTES = 256 << 20


def load(file: str) -> Document:
    """Load the config in `file`. Raises: ConfigError with everything that is wrong with it."""
    return load_text(read(file), file)


def read(file: str) -> str:
    """Return the text of a config file. Raises: ConfigError if it cannot be read or is not UTF-8."""
    try:
        with open(file, "rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError([Problem(f"cannot read the config: {error.strerror or error}", file)]) from error
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError([Problem(f"larger than {MAX_FILE_BYTES >> 20} MiB", file)])
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ConfigError([Problem("the config is UTF-16, expected UTF-8", file, 1, 1)])
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        good = data[: error.start].decode()
        line, column = Places(good, {}).at(len(good))
        message = f"not UTF-8: byte {data[error.start]:#04x}"
        raise ConfigError([Problem(message, file, line, column)]) from error


def load_text(text: str, file: str, *, has_file: bool = True) -> Document:
    """Load a config from `text`; `file` is where it comes from. Raises: ConfigError with everything that is wrong."""
    from npserver.config.decode import ConfigDecoder
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
    decoder = ConfigDecoder()
    config = decoder.convert(parsed.value, SectionShape(Config), ())
    problems += [_problem(fault, places, file) for fault in decoder.faults]
    document = Document(config or Config(), file, os.path.dirname(file) or ".", places, has_file=has_file)
    if problems:
        lacking = frozenset(fault.path[:-1] for fault in decoder.faults if len(fault.path) > 2)
        rest = msgspec.structs.replace(document, kept=decoder.kept, gone=frozenset(decoder.gone), lacking=lacking)
        raise ConfigError(sorted(problems, key=lambda problem: (problem.line, problem.column)), rest)
    return document


def _problem(fault: Fault, places: Places, file: str) -> Problem:
    line, column = places.key(fault.path) if fault.is_key else places.value(fault.path)
    return Problem(fault.message, file, line, column)
