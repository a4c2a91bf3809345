"""The priority of a response, as the `Priority` field of a message or a PRIORITY_UPDATE frame says (RFC 9218 §4). Pure.

The field is a dictionary of structured fields (RFC 9651 §3.2). Members that are not understood are passed over, as
RFC 9218 §4 asks; members that are malformed are passed over too, so that a client's mistake costs it nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from npserver.regex import regex

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_URGENCY = 3
LEAST_URGENT = 7
MAX_FIELD_BYTES = 256  # longer ones are not read: `u=5, i` is all that there is to say
#: One member: its key, its value if it has one, and its parameters, which mean nothing here.
_MEMBER = regex(rb'[ \t]*([a-z*][a-z0-9_\-.*]*)(?:=("(?:[^"\\]|\\.)*"|\([^)]*\)|[^,;"]*))?((?:;(?:"[^"]*"|[^,"])*)?)')


class Priority(NamedTuple):
    """How urgent a response is, 0 the most, and whether pieces of it are of use before it is whole."""

    urgency: int = DEFAULT_URGENCY
    is_incremental: bool = False


DEFAULT = Priority()


def parse_priority(field: bytes, base: Priority = DEFAULT) -> Priority:
    """Return a priority: that of `field`, and of `base` for what the field does not say."""
    if len(field) > MAX_FIELD_BYTES:
        return base
    urgency, is_incremental = base
    at = 0
    while at < len(field):
        member = _MEMBER.match(field, at)
        end = at if member is None else member.end()
        comma = field.find(b",", end)
        if member is not None and not field[end : comma if comma >= 0 else None].strip(b" \t"):
            key, value = member.group(1), member.group(2)
            text = None if value is None else value.strip(b" \t")
            if key == b"u" and text is not None and len(text) == 1 and b"0" <= text <= b"7":
                urgency = int(text)
            elif key == b"i" and (text is None or text in (b"?0", b"?1")):
                is_incremental = text != b"?0"
        at = comma + 1 if comma >= 0 else len(field)
    return Priority(urgency, is_incremental)


def priority_field(fields: Sequence[tuple[bytes, bytes]]) -> bytes | None:
    """Return the `Priority` field of a message, None if there is none; several lines are one list."""
    found = [value for name, value in fields if name == b"priority"]
    return b", ".join(found) if found else None
