"""Put a config together: the JSON of its file and of those that `include` names, with values of variables and files.

Called by `config.load`, before anything is decoded. In the included files lists of the first level
are appended to those of the file before, and objects get further keys; a key that two files have is an error.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from npserver.config.assembled import Assembled
from npserver.config.defaults import DEFAULTS, RULES, apply_defaults
from npserver.config.expand import Expander, has_references
from npserver.config.files import MAX_FILE_BYTES, ConfigFiles, is_pattern
from npserver.config.jsonc import JsonError, Parsed, Path, Places, parse
from npserver.errors import ConfigError, Problem, clip, reason_of

INCLUDE = "include"
MAX_DEPTH = 8  # of files that include others
MAX_FILES = 10_000
_OWN = (INCLUDE, "$schema")  # keys that each file has for itself


class _Part(Struct):
    """A file of a config, and how it was reached: its own real path is the last one of `chain`."""

    file: str
    value: Any
    places: Places
    chain: tuple[str, ...]

    def place(self, path: Path) -> str:
        line, column = self.places.key(path)
        return f"{self.file}:{line}:{column}"


def assemble(text: str, file: str, files: ConfigFiles) -> Assembled:
    """Return the config of `text`, the content of `file`, with all that it names.

    Raises: ConfigError if the text is not JSON. What is wrong otherwise is in the problems.
    """
    parsed = _parse(text, file)
    whole = Assembled(parsed.value, file, parsed.places, Expander(files))
    assembler = _Assembler(whole, files)
    assembler.add(_Part(file, parsed.value, parsed.places, (os.path.realpath(file),)), text, parsed)
    if isinstance(whole.value, dict) and (DEFAULTS in whole.value or RULES in whole.value):
        apply_defaults(whole)
    return whole


class _Assembler:
    """Adds one file after the other to the whole."""

    def __init__(self, whole: Assembled, files: ConfigFiles) -> None:
        self._whole = whole
        self._files = files
        self._directory = os.path.dirname(whole.file) or "."
        self._seen: dict[str, str] = {}  # the real paths of files, with the places that name them
        self._bytes = 0

    def add(self, part: _Part, text: str, parsed: Parsed) -> None:
        """Expand a file, and add it and those that it includes."""
        whole = self._whole
        for offset, name in parsed.repeated:
            line, column = part.places.at(offset)
            message = f"key {clip(name)} is given twice in the same object"
            whole.problems.append(Problem(message, part.file, line, column))
        if has_references(text):
            for path, message in whole.expander.expand(part.value, self._directory):
                self._incomplete(part, path, message)
        if isinstance(part.value, dict):
            self._merge(part)
            if (named := part.value.pop(INCLUDE, None)) is not None:
                self._include(part, named)

    def _merge(self, part: _Part) -> None:
        """Add what an included file has to the whole."""
        whole, value = self._whole, self._whole.value
        if len(part.chain) == 1:
            return
        places = whole.merged_places()
        number = places.add_file(part.file, part.places)
        for key, one in part.value.items():
            if key in _OWN:
                continue
            there = value.get(key)
            if key not in value:
                value[key] = one
                places.add_key((key,), number)
            elif isinstance(one, list) and isinstance(there, list):
                places.add_items(key, len(there), number)
                there += one
            elif isinstance(one, dict) and isinstance(there, dict):
                for name, inner in one.items():
                    if name in there:
                        self._twice(part, (key, name), f"{clip(name)} of {key!r}")
                    else:
                        there[name] = inner
                        places.add_key((key, name), number)
            elif isinstance(one, list) or isinstance(there, list):
                self._twice(part, (key,), repr(key), "write a list in both files")
            else:
                self._twice(part, (key,), repr(key))

    def _twice(self, part: _Part, path: Path, what: str, remedy: str = "remove one of the two") -> None:
        line, column = self._whole.places.key(path)
        place = f"{self._whole.file_of(path)}:{line}:{column}"
        self._problem(part, path, f"{what} is given at {place}, too: {remedy}", is_key=True)

    # ── files ──

    def _include(self, part: _Part, named: Any) -> None:
        """Add the files that a file includes, in the order of its list, those of a pattern by name."""
        for path, pattern in _patterns(named):
            if not isinstance(pattern, str) or not pattern:
                message = f"'{INCLUDE}': expected a string or a list of strings, got {clip(pattern)}"
                self._incomplete(part, path, message)
            elif len(part.chain) > MAX_DEPTH:
                self._incomplete(part, path, f"more than {MAX_DEPTH} files that include each other: name it in another")
            else:
                self._add_all(part, path, pattern)

    def _add_all(self, part: _Part, path: Path, pattern: str) -> None:
        directory = os.path.dirname(part.file)
        has_stars = is_pattern(pattern)
        full = os.path.join(glob.escape(directory) if has_stars else directory, pattern)
        try:
            found = self._files.find(full) if has_stars else [full]
        except OSError as error:
            remedy = "let npserver read it" if isinstance(error, PermissionError) else "make it, or name another one"
            message = f"cannot read the directory of {clip(pattern)}: {reason_of(error)}: {remedy}"
            return self._incomplete(part, path, message)
        for file in found:
            real = os.path.realpath(file)
            if real in part.chain or real in self._seen:
                if not has_stars:
                    self._problem(part, path, self._repeated(part, real, pattern))
            elif len(self._seen) == MAX_FILES:
                return self._incomplete(part, path, f"more than {MAX_FILES:,} files: include fewer")
            else:
                self._seen[real] = part.place(path)
                self._add_file(part, path, file, real)
        return None

    def _repeated(self, part: _Part, real: str, name: str) -> str:
        if real in part.chain:
            circle = " > ".join([os.path.basename(one) for one in (*part.chain[part.chain.index(real) :], real)])
            return f"{clip(name)} includes itself: {circle}: remove it here"
        return f"{clip(name)} is included at {self._seen[real]}, too: remove one of the two"

    def _add_file(self, part: _Part, path: Path, file: str, real: str) -> None:
        try:
            text = self._files.text(file, MAX_FILE_BYTES - self._bytes)
            parsed = _parse(text, file)
        except (OSError, ValueError) as error:
            reason = f"{reason_of(error)}: name a file that npserver can read" if isinstance(error, OSError) else error
            return self._incomplete(part, path, f"cannot include {clip(_name(part, file))}: {reason}")
        except ConfigError as error:
            self._whole.problems += error.problems
            self._whole.is_whole = False
            return None
        self._bytes += len(text)
        added = _Part(file, parsed.value, parsed.places, (*part.chain, real))
        if not isinstance(parsed.value, dict):
            return self._incomplete(added, (), f"expected an object, got {clip(parsed.value)}")
        return self.add(added, text, parsed)

    # ── problems ──

    def _incomplete(self, part: _Part, path: Path, message: str) -> None:
        self._whole.is_whole = False
        self._problem(part, path, message)

    def _problem(self, part: _Part, path: Path, message: str, *, is_key: bool = False) -> None:
        line, column = part.places.key(path) if is_key else part.places.value(path)
        self._whole.problems.append(Problem(self._whole.expander.hide(message), part.file, line, column))


def _name(part: _Part, file: str) -> str:
    """Return the name of a file as the one that includes it would write it."""
    directory = os.path.dirname(part.file)
    return file.removeprefix(f"{directory}/") if directory else file


def _parse(text: str, file: str) -> Parsed:
    """Read the JSON of a file. Raises: ConfigError."""
    try:
        return parse(text)
    except JsonError as error:
        line, column = Places(text, {}).at(error.offset)
        raise ConfigError([Problem(str(error), file, line, column)]) from error


def _patterns(named: Any) -> Iterator[tuple[Path, Any]]:
    """Yield each name or pattern of `include`, with its path."""
    if isinstance(named, list):
        yield from (((INCLUDE, index), one) for index, one in enumerate(named))
    else:
        yield (INCLUDE,), named
