"""What all parts of the schema are made of: the base of the config's objects, descriptions, recurring types."""

from __future__ import annotations

from msgspec import Meta, Struct


def D(text: str, ge: int | None = None, le: int | None = None) -> Meta:  # noqa: N802 - reads as a keyword beside each type
    """The description of one key, and the bounds of a number."""
    return Meta(description=text, ge=ge, le=le)


class Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all config objects: immutable, unknown keys are errors."""


#: Changes to header fields; values may hold `$variables`. `"Name": "v"` sets (a list: several fields), `"+Name": "v"`
#: adds beside what is there, `"Name": null` takes away.
HeaderMap = dict[str, str | list[str] | None]
OneOrMany = str | list[str]
