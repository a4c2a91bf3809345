"""The building blocks of the schema: the base of all config objects, descriptions of keys, and common types."""

from __future__ import annotations

from msgspec import Meta, Struct

NO_LIMIT = "no limit"


def D(  # noqa: N802 - reads as a keyword beside each type
    text: str, ge: int | None = None, le: int | None = None, *, zero: str = "", needs: str = "", opaque: str = ""
) -> Meta:
    """Describe one key: what it sets, with its unit, and the bounds of a number.

    Args:
        zero: what 0 means, which is added to the description. `NO_LIMIT`: a size or time is then not limited. A size or
            time without `zero` must be above 0.
        needs: the section of the config without which the value may mean nothing, such as one whose entries it names.
        opaque: for an object of objects that the decoder takes as they are; says in an error what each must be.
    """
    return Meta(description=text, ge=ge, le=le, extra={"zero": zero, "needs": needs, "opaque": opaque})


HIDDEN = Meta(extra={"hidden": True})  # marks an attribute that is not a key of the config


class Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all config objects: immutable, unknown keys are errors."""


#: Changes to header fields; values may hold `$variables`. `"Name": "v"` sets (a list: several fields), `"+Name": "v"`
#: adds a field to those present, `"Name": null` removes it.
HeaderMap = dict[str, str | list[str] | None]
OneOrMany = str | list[str]
