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
from npserver.config.schema import Config
from npserver.errors import ConfigError, Problem

if TYPE_CHECKING:
    from npserver.config.assembled import Assembled
    from npserver.config.decode import Fault


def load(file: str, files: ConfigFiles | None = None) -> Document:
    """Load the config in `file`; `files` reads those that it names. Raises: ConfigError with all that is wrong."""
    return load_text(read_text(file), file, files=files)


def load_text(text: str, file: str, *, has_file: bool = True, files: ConfigFiles | None = None) -> Document:
    """Load a config from `text`.

    Args:
        file: where the text comes from, for messages.
        has_file: whether that is the name of a file.
        files: reads the other files that the config names, or has what another process has read.

    Raises: ConfigError with everything that is wrong.
    """
    from npserver.config.assemble import assemble
    from npserver.config.decode import ConfigDecoder
    from npserver.config.shape import SectionShape

    files = files or ConfigFiles()
    whole = assemble(text, file, files)
    decoder = ConfigDecoder()
    config = decoder.convert(whole.value, SectionShape(Config), ())
    problems = whole.problems
    if decoder.faults:
        told: set[tuple[str, int, int]] = set()  # those of `defaults` are told for one rule only
        known = {(problem.file, problem.line, problem.column) for problem in problems}
        for fault in decoder.faults:
            problem = _problem(fault, whole)
            place = (problem.file, problem.line, problem.column)
            if place not in known and not (whole.places.user(fault.path) and place in told):
                problems.append(problem)
                told.add(place)
    document = Document(
        config or Config(),
        file,
        os.path.dirname(file) or ".",
        whole.places,
        has_file=has_file,
        files=files,
        expander=whole.expander,
        unused=whole.unused,
    )
    if problems:
        lacking = frozenset(fault.path[:-1] for fault in decoder.faults if len(fault.path) > 2)
        rest = msgspec.structs.replace(document, kept=decoder.kept, gone=frozenset(decoder.gone), lacking=lacking)
        # Where a value or a file is missing, whatever a compiler says may follow from that.
        raise ConfigError(in_order(problems, file), rest if whole.is_whole else None)
    return document


def in_order(problems: list[Problem], file: str) -> list[Problem]:
    """Return problems in the order of the files, the main one first, and of the places in each."""
    return sorted(problems, key=lambda one: (one.file != file, one.file, one.line, one.column))


def _problem(fault: Fault, whole: Assembled) -> Problem:
    line, column = whole.places.key(fault.path) if fault.is_key else whole.places.value(fault.path)
    user = whole.places.user(fault.path)
    message = f"{fault.message} (used by the rule at {user})" if user else fault.message
    return Problem(whole.expander.hide(message), whole.file_of(fault.path), line, column)
