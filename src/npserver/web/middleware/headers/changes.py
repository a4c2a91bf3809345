"""Changes to header fields, as the config's `headers` and `response_headers` describe them.

They are applied to the block of field lines of each response, and of each request that a proxy passes on; every line
ends in CRLF. Blocks repeat, so the result of changes without variables is kept by the block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

from npserver.errors import clip
from npserver.http.field_names import TOKEN, fold
from npserver.regex import regex
from npserver.web.variables import Template, compile_template, is_constant

if TYPE_CHECKING:
    from npserver.web.exchange import Exchange

#: Whether the field of a name in lower case is removed.
IsRemoved = Callable[[bytes], bool]

_CONTROL = regex(r"[\x00-\x08\x0a-\x1f\x7f]")
#: Fields that frame a message or belong to one connection are the server's (RFC 9110 §7.6.1).
_RESERVED = frozenset({"connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"})
#: Fields that every response begins with, and the config key that changes them.
_COMMON = {"date": "", "server": " (server_header)"}
_CACHED = 512  # blocks
_CACHED_BYTES = 2048  # longer blocks are not cached


class FieldChanges:
    """The changes of one `headers` section. `is_fixed`: their result depends on the field lines alone."""

    __slots__ = ("_added", "_is_removed", "_results", "is_fixed")

    def __init__(self, is_removed: IsRemoved, added: list[tuple[bytes, Template]], *, is_fixed: bool) -> None:
        self._is_removed = is_removed
        self._added = added
        self._results: dict[bytes, bytes] = {}
        self.is_fixed = is_fixed

    def clean(self, trailers: bytes) -> bytes:
        """Return trailers without fields that could be taken for those that the changes set, add or remove."""
        names = {fold(name.lower()) for name, _ in self._added}
        return remove_fields(trailers, lambda name: self._is_removed(name) or fold(name) in names)

    def apply(self, exchange: Exchange, block: bytes) -> bytes:
        """Return the field lines with the changes made for this exchange. Fields that come out empty are left out."""
        if self.is_fixed:
            return self.apply_fixed(block)
        values = [(name, template(exchange).strip().encode("utf-8", "replace")) for name, template in self._added]
        return self._changed(block, [pair for pair in values if pair[1]])

    def sets(self, names: frozenset[bytes]) -> bool:
        """Return whether one of the fields with these lower-case names is set or added."""
        return not names.isdisjoint([name.lower() for name, _ in self._added])

    def on_fields(self, exchange: Exchange, fields: dict[bytes, bytes]) -> dict[bytes, bytes]:
        """Return fields by lower-case name with the changes made for this exchange; equal names joined by ", "."""
        found = {name: value for name, value in fields.items() if not self._is_removed(name)}
        for name, template in self._added:
            key, value = name.lower(), template(exchange).strip().encode("utf-8", "replace")
            if value:
                found[key] = found[key] + b", " + value if key in found else value
        return found

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
        return remove_fields(block, self._is_removed) + b"".join([b"%b: %b\r\n" % pair for pair in values])


def compile_changes(
    changes: Mapping[str, str | list[str] | None],
    variables: Mapping[str, Template] | None = None,
    *,
    for_application: bool = False,
) -> FieldChanges | None:
    """Compile changes: `Name` sets, `+Name` adds, a value of None removes. Return None if there are none.

    Args:
        variables: additional ones for the values.
        for_application: the changes are to requests. A field that is set or removed is then removed in every spelling
            that an application may take for it (`http.field_names`), and one that is added in every other spelling.

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
            added.append((name.encode("ascii"), _named(name, text, variables)))
            is_fixed = is_fixed and is_constant(text)
    if not removed and not added:
        return None
    is_removed = _in_any_spelling(removed, added) if for_application else removed.__contains__
    return FieldChanges(is_removed, added, is_fixed=is_fixed)


def _in_any_spelling(removed: set[bytes], added: list[tuple[bytes, Template]]) -> IsRemoved:
    """Return whether a field is removed because it is changed, or could be taken for one that is."""
    folded = {fold(name) for name in removed}
    additions: dict[bytes, set[bytes]] = {}
    for name, _ in added:
        additions.setdefault(fold(name.lower()), set()).add(name.lower())

    def is_removed(name: bytes) -> bool:
        alike = fold(name)
        return alike in folded or (alike in additions and name not in additions[alike])

    return is_removed


def remove_fields(block: bytes, is_removed: IsRemoved) -> bytes:
    """Return a block of field lines without those whose lower-case name `is_removed` accepts."""
    if not block:
        return block
    lines = block.split(b"\r\n")
    kept = [line for line in lines if not line or not is_removed(line.partition(b":")[0].lower())]
    return block if len(kept) == len(lines) else b"\r\n".join(kept)


def _check_name(name: str) -> None:
    if not TOKEN.fullmatch(name):
        raise ValueError(f"{clip(name)} is not a valid header name")
    if name.lower() in _RESERVED:
        raise ValueError(f"header {name} is set by the server itself")
    if (key := _COMMON.get(name.lower())) is not None:
        raise ValueError(f"header {name} is set by the server itself{key}")


def _named(name: str, text: str, variables: Mapping[str, Template] | None) -> Template:
    try:
        return compile_template(text, variables)
    except ValueError as error:
        raise ValueError(f"header {name}: {error}") from None


def _constant(template: Template) -> str:
    """Return the text of a template without variables."""
    return template(cast("Exchange", None))
