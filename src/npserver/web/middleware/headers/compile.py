"""Compiles `response_headers` into middleware: fixed changes need no exchange, those with variables a response
filter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.web.config import AnswerRule
from npserver.web.exchange import Middleware, ResponseFilter, ResponseStart
from npserver.web.maps.compile import MAPS
from npserver.web.middleware.headers.changes import FieldChanges, compile_changes

if TYPE_CHECKING:
    from npserver.config.report import Path
    from npserver.runtime.compilation import Compilation
    from npserver.web.config import HttpRule
    from npserver.web.exchange import Exchange


class FixedHeaders(Middleware):
    """Changes that are the same for all responses with the same field lines."""

    def __init__(self, changes: FieldChanges) -> None:
        self._changes = changes

    def change_fields(self, fields: bytes) -> bytes:
        """Return the changed field lines."""
        return self._changes.apply_fixed(fields)


class VariableHeaders(Middleware):
    """Changes whose values hold `$variables`."""

    def __init__(self, changes: FieldChanges) -> None:
        self._changes = changes

    def response(self, exchange: Exchange) -> ResponseFilter:
        """Return a filter that fills in this exchange's values."""
        return _HeaderFilter(self._changes, exchange)


class _HeaderFilter(ResponseFilter):
    __slots__ = ("_changes", "_exchange")

    def __init__(self, changes: FieldChanges, exchange: Exchange) -> None:
        self._changes = changes
        self._exchange = exchange

    def start(self, head: ResponseStart) -> bool:
        """Change the fields; the body passes by."""
        head.fields = self._changes.apply(self._exchange, head.fields)
        return False


def compile_headers(compilation: Compilation, path: Path, rule: HttpRule) -> Middleware | None:
    """Compile `response_headers`, and `headers` where that is another name for them. Errors stand in the report."""
    others = rule.headers if isinstance(rule, AnswerRule) else {}
    key = "response_headers" if rule.response_headers else "headers"
    try:
        changes = compile_changes({**rule.response_headers, **others}, MAPS.of(compilation))
    except ValueError as error:
        compilation.report.error((*path, key), f"'{key}': {error}")
        return None
    if changes is None:
        return None
    return FixedHeaders(changes) if changes.is_fixed else VariableHeaders(changes)
