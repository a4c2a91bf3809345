"""JSON with comments and trailing commas, and the line and column of every key and value (RFC 8259, and JSONC's
`//` and `/* */`).

Called by `config.load`. A regular expression takes each run of the grammar (`"key":`, a value, a separator) in one
step. Places are kept for the outer two levels only; those inside are found by reading their part again when a message
asks for them, so that a hundred thousand DNS names cost no more than their data.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from typing import Any

from msgspec import Struct

from npserver.errors import clip
from npserver.regex import regex

#: Where a value stands: keys and list indices, as ("dispatch", 3, "root").
Path = tuple[str | int, ...]

MAX_DEPTH = 64
_PLACED_DEPTH = 2  # values up to this depth have their places kept
_MAX_QUOTED = 16  # characters of a token in a message
_MAX_DIGITS = 400  # longer than any finite float needs; also below the interpreter's own limit for whole numbers

# Possessive are single characters only: of groups, Python 3.11.2 (Debian 12) gets that wrong.
_BLANK = r"[ \t\r\n]*+(?:(?://[^\n]*+|/\*[^*]*+(?:\*(?!/)[^*]*+)*\*/)[ \t\r\n]*+)*"
_STRING = r'"([^"\\\x00-\x1f]*+)"'
_SKIP = regex(_BLANK)
_KEY = regex(f"{_STRING}{_BLANK}:{_BLANK}")
_MEMBER = regex(f"{_STRING}{_BLANK}:{_BLANK}(?:{_STRING}{_BLANK}([,}}]){_BLANK})?")  # often the value is a string
_SCALAR = regex(rf"{_STRING}|(-?+(?:0|[1-9]\d*+)(\.\d++)?([eE][-+]?+\d++)?)(?![\w.+-])|(true|false|null)\b")
_NEXT = regex(rf"{_BLANK}([,\]}}]){_BLANK}")
_ESCAPED = regex(r'[^"\\\x00-\x1f]*+(?:\\[^\x00-\x1f][^"\\\x00-\x1f]*+)*')
_ESCAPE = regex(r"\\(?:u([0-9A-Fa-f]{4})(?:\\u([Dd][C-Fc-f][0-9A-Fa-f]{2}))?|(.))", re.DOTALL)
_SIMPLE = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None}
_WORD = regex(r"[\w.+-]+")


class JsonError(ValueError):
    """The text is not JSON. `offset` counts characters from its start."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


class Parsed(Struct):
    """The value of a text, and the positions of its parts."""

    value: Any
    repeated: list[tuple[int, str]]  # offset and name of keys that had been given before; the last one counts
    places: Places


class Places:
    """The positions of the keys and values of a text."""

    __slots__ = ("_lines", "_offsets", "_text")

    def __init__(self, text: str, offsets: dict[Path, int]) -> None:
        self._text = text
        self._offsets = offsets  # of members: their key; of list items: the item
        self._lines: array[int] | None = None

    def key(self, path: Path) -> tuple[int, int]:
        """Line and column of the key at `path`, of an item in a list, or of the nearest part around it."""
        return self.at(self._find(path)[0])

    def value(self, path: Path) -> tuple[int, int]:
        """Line and column of the value at `path`, or of the nearest part around it."""
        offset, found = self._find(path)
        if found and isinstance(found[-1], str):
            offset = _after_key(self._text, offset)
        return self.at(offset)

    def file(self, path: Path) -> str:
        """Return the file in which the value at `path` stands; "" for the only one."""
        return ""

    def user(self, path: Path) -> str:
        """Return the place of the rule that has the value at `path` from elsewhere; "" for a value of its own."""
        return ""

    def at(self, offset: int) -> tuple[int, int]:
        """Line and column, from 1, of the character at `offset`; (0, 0) for -1, nowhere."""
        if offset < 0:
            return 0, 0
        if self._lines is None:
            self._lines = array("q", [0, *[match.end() for match in re.finditer("\n", self._text)]])
        line = bisect_right(self._lines, offset)
        return line, offset - self._lines[line - 1] + 1

    def _find(self, path: Path) -> tuple[int, Path]:
        if path not in self._offsets and len(path) > _PLACED_DEPTH:
            self._read_inside(path[:_PLACED_DEPTH])
        for end in range(len(path), 0, -1):
            if (offset := self._offsets.get(path[:end])) is not None:
                return offset, path[:end]
        return self._offsets.get((), -1), ()

    def _read_inside(self, path: Path) -> None:
        if (offset := self._offsets.get(path)) is not None:
            if isinstance(path[-1], str):
                offset = _after_key(self._text, offset)
            parser = _Parser(self._text, MAX_DEPTH)
            parser.value(offset, path)
            self._offsets.update(parser.offsets)


def parse(text: str) -> Parsed:
    """Read a whole text. Raises: JsonError at the first place where it is not JSON with comments."""
    parser = _Parser(text, _PLACED_DEPTH)
    start = parser.skip(1 if text.startswith("\ufeff") else 0)
    parser.offsets[()] = start
    if start == len(text):
        raise JsonError("nothing in the file, expected '{'", start)
    value, end = parser.value(start, ())
    end = parser.skip(end)
    if end < len(text):
        raise JsonError(f"expected the end of the file, got {parser.token(end)}", end)
    return Parsed(value, parser.repeated, Places(text, parser.offsets))


def _after_key(text: str, offset: int) -> int:
    if match := _KEY.match(text, offset):
        return match.end()
    parser = _Parser(text, 0)
    return parser.key(offset)[1]


class _Parser:
    """One pass over a text."""

    __slots__ = ("_depth", "_placed_depth", "_text", "offsets", "repeated")

    def __init__(self, text: str, placed_depth: int) -> None:
        self._text = text
        self._placed_depth = placed_depth
        self._depth = 0
        self.offsets: dict[Path, int] = {}
        self.repeated: list[tuple[int, str]] = []

    def value(self, at: int, path: Path) -> tuple[Any, int]:
        """Read the value that starts at `at`; give it and where it ends."""
        character = self._text[at : at + 1]
        if character == "{":
            return self._object(at + 1, path)
        if character == "[":
            return self._list(at + 1, path)
        match = _SCALAR.match(self._text, at)
        if match is None:
            return self._odd_value(at)
        if match.lastindex == 1:
            return match[1], match.end()
        if match.lastindex == 5:
            return _WORDS[match[5]], match.end()
        return _number(match, at), match.end()

    def key(self, at: int) -> tuple[str, int]:
        """Read a key and its colon where `_KEY` does not match: it has escapes, or something is wrong."""
        at = self.skip(at)
        if self._text[at : at + 1] != '"':
            raise JsonError(f"expected a key in double quotes, got {self.token(at)}", at)
        name, end = self._string(at)
        end = self.skip(end)
        if self._text[end : end + 1] != ":":
            raise JsonError(f"expected ':' after {_quote_key(name)}, got {self.token(end)}", end)
        return name, self.skip(end + 1)

    def skip(self, at: int) -> int:
        """Return the position after the blanks and comments that start at `at`."""
        match = _SKIP.match(self._text, at)
        end = match.end() if match else at
        if self._text.startswith("/*", end):
            raise JsonError("comment without its '*/'", end)
        return end

    def token(self, at: int) -> str:
        """Describe what stands at `at`, for messages."""
        if at >= len(self._text):
            return "the end of the file"
        if match := _SCALAR.match(self._text, at) or _WORD.match(self._text, at):
            return _quote(match[0])
        if self._text[at] == '"':
            return "a string"
        if self._text[at] == "#":
            return "'#' (comments start with '//')"
        return clip(self._text[at])

    def _object(self, at: int, path: Path) -> tuple[dict[str, Any], int]:
        text, start = self._text, at - 1
        self._deepen(start)
        result: dict[str, Any] = {}
        placed = len(path) < self._placed_depth
        inside = path
        at = self.skip(at)
        while text[at : at + 1] != "}":
            if match := _MEMBER.match(text, at):
                name, value, separator = match.groups()
                end = match.end()
            else:
                self._check_open(at, start, "}")
                name, end = self.key(at)
                separator = None
            if name in result:
                self.repeated.append((at, name))
            if placed:
                inside = (*path, name)
                self.offsets[inside] = at
            if separator is None:
                value, end = self.value(end, inside)
                match = _NEXT.match(text, end)
                if match is None or match[1] == "]":
                    raise self._no_separator(end, start, "}")
                separator, end = match[1], match.end()
            result[name], at = value, end
            if separator == "}":
                break
        else:
            at += 1
        self._depth -= 1
        return result, at

    def _list(self, at: int, path: Path) -> tuple[list[Any], int]:
        text, start = self._text, at - 1
        self._deepen(start)
        result: list[Any] = []
        placed = len(path) < self._placed_depth
        inside = path
        at = self.skip(at)
        while text[at : at + 1] != "]":
            self._check_open(at, start, "]")
            if placed:
                inside = (*path, len(result))
                self.offsets[inside] = at
            item, end = self.value(at, inside)
            result.append(item)
            match = _NEXT.match(text, end)
            if match is None or match[1] == "}":
                raise self._no_separator(end, start, "]")
            at = match.end()
            if match[1] == "]":
                break
        else:
            at += 1
        self._depth -= 1
        return result, at

    def _deepen(self, start: int) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise JsonError(f"more than {MAX_DEPTH} objects and lists inside each other", start)

    def _check_open(self, at: int, start: int, closing: str) -> None:
        """Raises: JsonError if the text ends inside the object or list that began at `start`."""
        if self.skip(at) >= len(self._text):
            line, column = Places(self._text, {}).at(start)
            raise JsonError(
                f"expected '{closing}' for the '{self._text[start]}' at {line}:{column}, got the end of the file", at
            )

    def _no_separator(self, at: int, start: int, closing: str) -> JsonError:
        at = self.skip(at)
        self._check_open(at, start, closing)
        return JsonError(f"expected ',' or '{closing}', got {self.token(at)}", at)

    def _odd_value(self, at: int) -> tuple[str, int]:
        """Read a string with escapes; anything else here is an error."""
        character = self._text[at : at + 1]
        if character == '"':
            return self._string(at)
        if character == "'":
            raise JsonError("strings stand in double quotes, got a single one", at)
        if character and character in "-+.0123456789":
            word = _WORD.match(self._text, at)
            raise JsonError(f"{_quote(word[0] if word else character)} is not a JSON number", at)
        self.skip(at)
        raise JsonError(f"expected a value, got {self.token(at)}", at)

    def _string(self, at: int) -> tuple[str, int]:
        match = _ESCAPED.match(self._text, at + 1)
        end = match.end() if match else at + 1
        character = self._text[end : end + 1]
        if character in {"", "\n", "\r", "\\"}:
            raise JsonError("string without its closing '\"'", at)
        if character != '"':
            raise JsonError(f"control character {clip(character)} in a string, write '\\u{ord(character):04x}'", end)
        return _unescape(self._text[at + 1 : end], at + 1), end + 1


def _quote(token: str) -> str:
    """Return a token for a message. A long one is not shown: it may be a secret that lacks a quote or a comma."""
    if len(token) <= _MAX_QUOTED:
        return clip(token)
    return "a string" if token[0] == '"' else f"a word of {len(token)} characters"


def _quote_key(name: str) -> str:
    """Return a key that lacks its value, for a message; a long one may be a value, without its key."""
    return f"the key {clip(name)}" if len(name) <= _MAX_QUOTED * 2 else "this key"


def _number(match: re.Match[str], at: int) -> int | float:
    text = match[2]
    if len(text) > _MAX_DIGITS:
        raise JsonError(f"number of {len(text)} digits", at)
    if match[3] is None and match[4] is None:
        return int(text)
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise JsonError(f"number out of range: {clip(text)}", at)
    return number


def _unescape(text: str, offset: int) -> str:
    """Replace the escapes of a string (RFC 8259 §7); `offset` is where it stands, for messages."""

    def replace(match: re.Match[str]) -> str:
        code, low, simple = match.groups()
        if code is None:
            if simple in _SIMPLE:
                return _SIMPLE[simple]
            known = (
                "expected four hexadecimal digits after \\u"
                if simple == "u"
                else 'expected one of \\" \\\\ \\/ \\b \\f \\n \\r \\t \\u'
            )
            raise JsonError(f"bad escape '\\{simple}' in a string, {known}", offset + match.start())
        number = int(code, 16)
        if low is not None and 0xD800 <= number < 0xDC00:
            return chr(0x10000 + ((number - 0xD800) << 10) + int(low, 16) - 0xDC00)
        if 0xD800 <= number < 0xE000 or low is not None:
            raise JsonError(f"half of a surrogate pair, '{match[0][:6]}', in a string", offset + match.start())
        return chr(number)

    return _ESCAPE.sub(replace, text)
