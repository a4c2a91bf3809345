"""Changes to header fields, as the config's `headers` and `response_headers` describe them.

They are applied to the block of field lines of each response, and of each request that a proxy passes on; every line
ends in CRLF. Blocks repeat, so the result of changes without variables is kept by the block.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from npserver.errors import clip
from npserver.regex import regex
from npserver.web.variables import Template, compile_template, is_constant

if TYPE_CHECKING:
    from npserver.web.exchange import Exchange

_TOKEN = regex(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = regex(r"[\x00-\x08\x0a-\x1f\x7f]")
#: Fields that frame a message or belong to one connection are the server's (RFC 9110 §7.6.1).
_RESERVED = frozenset({"connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"})
#: Fields that every response begins with, and the config key that changes them.
_COMMON = {"date": "", "server": " (server_header)"}
_CACHED = 512  # blocks
_CACHED_BYTES = 2048  # longer blocks are not cached


class FieldChanges:
    """The changes of one `headers` section. `is_fixed`: their result depends on the field lines alone."""

    __slots__ = ("_added", "_removed", "_results", "is_fixed")

    def __init__(self, removed: set[bytes], added: list[tuple[bytes, Template]], *, is_fixed: bool) -> None:
        self._removed = removed
        self._added = added
        self._results: dict[bytes, bytes] = {}
        self.is_fixed = is_fixed

    def apply(self, exchange: Exchange, block: bytes) -> bytes:
        """Return the field lines with the changes made for this exchange. Fields that come out empty are left out."""
        if self.is_fixed:
            return self.apply_fixed(block)
        values = [(name, template(exchange).strip().encode("utf-8", "replace")) for name, template in self._added]
        return self._changed(block, [pair for pair in values if pair[1]])

    def apply_fixed(self, block: bytes) -> bytes:
        """Return the field lines with the changes made; only if `is_fixed`."""
        # hot: static-small
        result = self._results.get(block)
        if result is None:
            values = [(name, _constant(template).strip().encode("utf-8", "replace")) for name, template in self._added]
            result = self._changed(block, values)
            if len(block) <= _CACHED_BYTES:
                if len(self._results) >= _CACHED:
                    self._results.clear()
                self._results[block] = result
        return result

    def _changed(self, block: bytes, values: list[tuple[bytes, bytes]]) -> bytes:
        return remove_fields(block, self._removed) + b"".join([b"%b: %b\r\n" % pair for pair in values])


def compile_changes(changes: Mapping[str, str | list[str] | None]) -> FieldChanges | None:
    """Compile changes: `Name` sets, `+Name` adds, a value of None removes. Return None if there are none.

    Raises: ValueError naming the field that cannot be changed so.
    """
    removed: set[bytes] = set()
    added: list[tuple[bytes, Template]] = []
    is_fixed = True
    for key, value in changes.items():
        is_addition = key.startswith("+")
        name = key.removeprefix("+")
        _check_name(name)
        texts = [] if value is None else [value] if isinstance(value, str) else value
        if not is_addition:
            removed.add(name.lower().encode("ascii"))
        for text in texts:
            if _CONTROL.search(text):
                raise ValueError(f"control character in the value of header {name}")
            added.append((name.encode("ascii"), _named(name, text)))
            is_fixed = is_fixed and is_constant(text)
    return FieldChanges(removed, added, is_fixed=is_fixed) if removed or added else None


def remove_fields(block: bytes, names: set[bytes]) -> bytes:
    """Return a block of field lines without the fields of these lower-case names."""
    if not names or not block:
        return block
    lines = block.split(b"\r\n")
    kept = [line for line in lines if line.partition(b":")[0].lower() not in names]
    return block if len(kept) == len(lines) else b"\r\n".join(kept)


def _check_name(name: str) -> None:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{clip(name)} is not a valid header name")
    if name.lower() in _RESERVED:
        raise ValueError(f"header {name} is set by the server itself")
    if (key := _COMMON.get(name.lower())) is not None:
        raise ValueError(f"header {name} is set by the server itself{key}")


def _named(name: str, text: str) -> Template:
    try:
        return compile_template(text)
    except ValueError as error:
        raise ValueError(f"header {name}: {error}") from None


def _constant(template: Template) -> str:
    """Return the text of a template without variables."""
    return template(cast("Exchange", None))
