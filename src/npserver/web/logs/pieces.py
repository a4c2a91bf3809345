"""Texts of access logs as pieces: constants, and values of a request, which are joined to a line for each request.

What depends on the head of a request alone is joined once for each head that comes again, as the fixed formats do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

from msgspec import Struct

from npserver.config.expand import template_of
from npserver.observe.log_formats import HeadParts
from npserver.observe.request_record import RequestRecord
from npserver.web.logs.responses import response_field
from npserver.web.logs.variables import is_of_head
from npserver.web.variables import REFERENCE, VARIABLES, find_variable

if TYPE_CHECKING:
    from npserver.http.request import Request
    from npserver.web.logs.variables import Value
    from npserver.web.variables import Template

#: Writes a part of the line of a request.
Line = Callable[[RequestRecord], str]


class Piece(Struct, frozen=True):
    """A variable in a text. `is_of_head`: its value depends on the head of the request alone."""

    name: str
    value: Value
    is_of_head: bool

    def changed(self, change: Callable[[str], str]) -> Piece:
        """Return one with changed values."""
        value = self.value
        return Piece(self.name, lambda record: change(value(record)), self.is_of_head)


def split_text(text: str, variables: Mapping[str, Template]) -> list[str | Piece]:
    """Split a text into constants and variables. Raises: ValueError for a variable that does not exist."""
    known = {**VARIABLES, **variables}
    source = template_of(text)
    pieces: list[str | Piece] = []
    end = 0
    for match in REFERENCE.finditer(source):
        pieces.append(source[end : match.start()])
        if match[1]:
            pieces.append("$")
        else:
            name = match[2] or match[3] or ""
            if name.startswith(("header.", "response.")):
                name = name.lower()  # as those that `variables` has in place of them
            if name.startswith("response.") and name not in known:
                value = response_field(name.removeprefix("response."))
            else:
                value = cast("Value", find_variable(name, known, text))
            pieces.append(Piece(name, value, is_of_head(name)))
        end = match.end()
    pieces.append(source[end:])
    return [piece for piece in pieces if piece != ""]


def join_pieces(pieces: list[str | Piece]) -> Line:
    """Return what joins pieces."""
    parts: list[Value | int] = []  # a number: the place of a part that `heads` has
    runs: list[list[str | Piece]] = []
    for piece in pieces:
        if isinstance(piece, Piece) and not piece.is_of_head:
            parts.append(piece.value)
            continue
        if not parts or not isinstance(parts[-1], int):
            parts.append(len(runs))
            runs.append([])
        runs[-1].append(piece)

    def make(request: Request) -> tuple[str, ...]:
        record = RequestRecord("", request, "", 0, 0, 0)
        return tuple(["".join([one if isinstance(one, str) else one.value(record) for one in run]) for run in runs])

    heads = HeadParts(make)

    def line(record: RequestRecord) -> str:
        made = heads.of(record.request)
        return "".join([made[part] if type(part) is int else part(record) for part in parts])  # type: ignore[operator]

    return line
