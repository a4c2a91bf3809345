"""Adds fields to the responses that do not have them: `security_headers` of a rule.

What an answer has already is left: an application knows its pages better than a rule for all of them. The rule's
`response_headers` come later, and replace both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.http.memo import MemoOnSecondUse
from npserver.web.exchange import Middleware, ResponseFilter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from npserver.web.exchange import Exchange, ResponseStart

_CACHED = 512  # blocks
_CACHED_BYTES = 2048  # longer blocks are not cached


class AddedFields(Middleware):
    """Adds the same fields to all responses.

    Args:
        fields: names in lower case, and whole lines.
    """

    def __init__(self, fields: Sequence[tuple[bytes, bytes]]) -> None:
        self._fields = fields
        self._results: MemoOnSecondUse[bytes, bytes] = MemoOnSecondUse(self._with_fields, _CACHED)

    def change_fields(self, fields: bytes) -> bytes:
        """Return the field lines with those that they lack."""
        return self._results[fields] if len(fields) <= _CACHED_BYTES else self._with_fields(fields)

    def _with_fields(self, fields: bytes) -> bytes:
        names = {line.partition(b":")[0].lower() for line in fields.split(b"\r\n")}
        return fields + b"".join([line for name, line in self._fields if name not in names])


class SecureFields(AddedFields):
    """Adds some fields to the responses that go over TLS, besides those that all get.

    Args:
        secure: as `fields`.
    """

    def __init__(self, fields: Sequence[tuple[bytes, bytes]], secure: Sequence[tuple[bytes, bytes]]) -> None:
        super().__init__(fields)
        self._secure = AddedFields(secure)

    def response(self, exchange: Exchange) -> ResponseFilter | None:
        """Return the filter of a response that goes over TLS."""
        return _SecureFilter(self._secure) if exchange.scheme == "https" else None


class _SecureFilter(ResponseFilter):
    __slots__ = ("_added",)

    def __init__(self, added: AddedFields) -> None:
        self._added = added

    def start(self, head: ResponseStart) -> bool:
        """Add the fields; the body passes by."""
        head.fields = self._added.change_fields(head.fields)
        return False
