"""Expand `${NAME}`, `${NAME:-default}`, `${env:name}` and `${file:/path}` in the texts of a config.

Called by `config.assemble` with the parsed JSON. What comes out is not expanded again: a text with a value in it is an
`Expanded`, which keeps apart what the config says and what was put in. `web.variables` takes values as they are,
whatever dollar signs they have, and no message shows them: the `repr` of an `Expanded` is the text as it is written.

The variables of requests, `$host` and `${host}`, are not touched: names in lower case are theirs.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from npserver.errors import clip, reason_of
from npserver.guess import get_close_matches
from npserver.regex import regex

if TYPE_CHECKING:
    from npserver.config.files import ConfigFiles
    from npserver.config.jsonc import Path

_REFERENCE = regex(r"\$(?:\$(\{)?|\{([^}]*)(\}?))")
_VARIABLE = regex(r"(?:env:([A-Za-z_]\w*)|([A-Z_][A-Z0-9_]*))(?::-(.*))?", re.ASCII | re.DOTALL)
_NEARLY = regex(r"(?:env:.*|[A-Z_][A-Z0-9_]*(?:[^\w.].*)?|[A-Za-z_]\w*:.*)", re.ASCII | re.DOTALL)
_FILE = "file:"
_FORMS = "expected ${NAME}, ${NAME:-default}, ${env:name} or ${file:/path}"
_LITERAL = "write $${ for these characters themselves"
_SECRET = regex(r"key|secret|pass|token|credential|auth|private|salt|hash|dsn", re.IGNORECASE)
OFTEN_SECRET = frozenset({"headers", "response_headers", "env"})  # keys whose texts may hold a password
_MIN_RUN = 8  # characters of a secret that a message must not have in a row
_MIN_RUN_OF_URL = 16  # of one that has parts which stand in many messages
_MIN_SECRET, _MIN_VALUE = 4, 8  # shorter values stand in many messages by chance, and are not hidden


class Expanded(str):
    """A text of the config with values of variables or files in it.

    The decoder leaves it in the config only where it `is_special`, or its key is `OFTEN_SECRET`. Encoders of msgspec
    refuse it; names, hosts and the like are plain texts.
    """

    __slots__ = ("template", "values", "written")

    written: str  # as it stands in the config
    template: str  # the same text for `web.variables`: dollar signs of values are doubled
    values: tuple[tuple[str, str], ...]  # each reference, and the value that replaces it

    def __repr__(self) -> str:
        return repr(self.written)

    @property
    def has_secret(self) -> bool:
        """Whether a value comes from a file, or from a variable whose name sounds like a secret's."""
        return any(map(is_secret, (reference for reference, _ in self.values)))

    @property
    def is_special(self) -> bool:
        """Whether it is not the same as the plain text: it has a secret, or dollar signs that templates must know."""
        return self.has_secret or self.template != self


class ExpansionError(ValueError):
    """A text cannot be expanded. The message has no value."""


class Expander:
    """Expands the texts of one config, and remembers the values: no message may have them."""

    __slots__ = ("_environment", "_files", "_values")

    def __init__(self, files: ConfigFiles, environment: Mapping[str, str] | None = None) -> None:
        """`environment`: the variables; None: those of this process."""
        self._files = files
        self._environment = os.environ if environment is None else environment
        self._values: dict[str, str] = {}  # that messages must not have, with the reference to show instead

    def expand(self, tree: Any, directory: str) -> list[tuple[Path, str]]:
        """Expand all texts in parsed JSON, in place; the names of files start at `directory`.

        Return what is wrong, with the paths.
        """
        faults: list[tuple[Path, str]] = []
        for holder, part, path in _texts(tree, ()):
            text = holder[part]
            try:
                holder[part] = self.text(text, directory)
            except ExpansionError as error:
                faults.append((path, str(error)))
        return faults

    def text(self, text: str, directory: str) -> str:
        """Return a text with its references replaced: an `Expanded` if it has any. Raises: ExpansionError."""
        plain: list[str] = []
        template: list[str] = []
        values: list[tuple[str, str]] = []
        end = 0
        for match in _REFERENCE.finditer(text):
            before = text[end : match.start()]
            end = match.end()
            plain.append(before)
            template.append(before)
            if match[2] is None:  # a pair of dollar signs: with a brace it is one, elsewhere the templates decide
                plain.append("${" if match[1] else "$$")
                template.append(match[0])
                continue
            value = self._value(match[0], match[2], is_closed=bool(match[3]), directory=directory)
            if value is None:
                plain.append(match[0])
                template.append(match[0])
                continue
            plain.append(value)
            template.append(value.replace("$", "$$"))
            values.append((match[0], value))
        rest = text[end:]
        result = "".join([*plain, rest])
        if not values and result == text:
            return text
        expanded = Expanded(result)
        expanded.written, expanded.template, expanded.values = text, "".join([*template, rest]), tuple(values)
        return expanded

    def digest(self) -> str:
        """Return a text that changes with the values of variables and files; "" without any."""
        if not self._values:
            return ""
        return hashlib.sha256(repr(sorted((name, value) for value, name in self._values.items())).encode()).hexdigest()

    def hide(self, message: str) -> str:
        """Return a message without values: their references stand in for them, and for long parts of secrets."""
        for value, reference in self._values.items():
            if not is_secret(reference):
                message = message.replace(value, reference) if len(value) >= _MIN_VALUE else message
            elif len(value) >= _MIN_SECRET:
                for run in _common_runs(message, value):
                    message = message.replace(run, reference)
        return message

    def _value(self, reference: str, name: str, *, is_closed: bool, directory: str) -> str | None:
        """Return the value of a reference; None for a variable of requests. Raises: ExpansionError."""
        is_file = name.startswith(_FILE)
        match = None if is_file else _VARIABLE.fullmatch(name)
        if not (is_file or match or _NEARLY.fullmatch(name)):
            return None
        if not is_closed:
            raise ExpansionError(f"'${{' without its '}}'; {_LITERAL}")
        if is_file:
            content = self._content(name[len(_FILE) :], directory)
            self._values[content] = reference
            return content
        if match is None:
            raise ExpansionError(f"{clip('${' + name + '}')}: {_FORMS}; {_LITERAL}")
        variable, default = match[1] or match[2], match[3]
        value = self._environment.get(variable)
        if value is None or (not value and default is not None):
            if default is None:
                raise ExpansionError(self._unset(variable, match[0]))
            return default
        self._values[value] = reference
        return value

    def _unset(self, variable: str, written: str) -> str:
        close = get_close_matches(variable, self._environment, 1)
        hint = f"did you mean {close[0]!r}? Else set it" if close else "set it"
        return (
            f"the environment variable {clip(variable)} is not set: {hint} before the start, or write "
            f"${{{written}:-default}}; {_LITERAL}"
        )

    def _content(self, name: str, directory: str) -> str:
        if not name:
            raise ExpansionError("'${file:}' names no file: write ${file:/path}")
        try:
            return self._files.value(os.path.join(directory, name))
        except OSError as error:
            raise ExpansionError(
                f"cannot read {clip(name)} of '${{file:}}': {reason_of(error)}: name a file that npserver can read"
            ) from error
        except ValueError as error:
            raise ExpansionError(f"{clip(name)} of '${{file:}}': {error}") from error


def has_references(text: str) -> bool:
    """Return whether the text of a config file may have something to expand, escaped or not."""
    return "${" in text or "\\u00" in text


def template_of(text: str) -> str:
    """Return a text of the config as templates read it: values that were put in have no variables."""
    return text.template if isinstance(text, Expanded) else text


def is_secret(reference: str) -> bool:
    """Return whether the value of a reference may be a secret: of a file, or of a variable that is named like one."""
    return reference.startswith(f"${{{_FILE}") or _SECRET.search(reference.partition(":-")[0]) is not None


def _texts(value: Any, path: Path) -> Iterator[tuple[Any, str | int, Path]]:
    """Yield the object or list, the key or index, and the path of each text that may have a reference."""
    parts: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for part, one in parts:
        if isinstance(one, str):
            if "${" in one:
                yield value, part, (*path, part)
        elif isinstance(one, (dict, list)):
            yield from _texts(one, (*path, part))


def _common_runs(message: str, value: str) -> list[str]:
    """Return the parts of a message that are a value, or long parts of one, the longest first."""
    least = min(_MIN_RUN_OF_URL if "://" in value else _MIN_RUN, len(value))
    found = []
    start = 0
    while start + least <= len(message):
        length = least
        if message[start : start + length] in value:
            while start + length < len(message) and message[start : start + length + 1] in value:
                length += 1
            found.append(message[start : start + length])
            start += length
        else:
            start += 1
    return sorted(found, key=len, reverse=True)
