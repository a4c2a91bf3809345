"""The building blocks of the schema: the base of all config objects, descriptions of keys, and common types."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar, get_type_hints

from msgspec import Meta, Struct

NO_LIMIT = "no limit"


def D(  # noqa: N802 - reads as a keyword beside each type
    text: str,
    ge: int | None = None,
    le: int | None = None,
    *,
    zero: str = "",
    needs: str = "",
    opaque: str = "",
    secret: bool = False,
    empty: str = "",
) -> Meta:
    """Describe one key: what it sets, with its unit, and the bounds of a number.

    Args:
        zero: what 0 means, which is added to the description. `NO_LIMIT`: a size or time is then not limited. A size or
            time without `zero` must be above 0.
        needs: the section of the config without which the value may mean nothing, such as one whose entries it names.
        opaque: for an object of objects that the decoder takes as they are; says in an error what each must be.
        secret: the value itself is a secret, not the name of a file with it: no message quotes it, no `repr` has it.
        empty: what applies without the key, such as "all clients", where it would also apply to an empty list or text.
            These are errors: a list that names nobody must not mean everybody.
    """
    extra = {"zero": zero, "needs": needs, "opaque": opaque, "secret": secret, "empty": empty}
    return Meta(description=text, ge=ge, le=le, extra=extra)


HIDDEN = Meta(extra={"hidden": True})  # marks an attribute that is not a key of the config


class Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all config objects: immutable, unknown keys are errors."""

    #: Keys that are looked for here but stand elsewhere, with a hint for each.
    elsewhere: ClassVar[Mapping[str, str]] = {}

    def __repr__(self) -> str:
        secret = _secrets(type(self))
        shown = [f"{name}={'...' if name in secret else repr(getattr(self, name))}" for name in self.__struct_fields__]
        return f"{type(self).__name__}({', '.join(shown)})"


@cache
def _secrets(struct: type[Section]) -> frozenset[str]:
    """Return the attributes of a struct that are secret."""
    hints: dict[str, Any] = get_type_hints(struct, include_extras=True)
    return frozenset(
        name
        for name, hint in hints.items()
        for meta in getattr(hint, "__metadata__", ())
        if isinstance(meta, Meta) and (meta.extra or {}).get("secret")
    )


#: Changes to header fields; values may hold `$variables`. `"Name": "v"` sets (a list: several fields), `"+Name": "v"`
#: adds a field to those present, `"Name": null` removes it.
HeaderMap = dict[str, str | list[str] | None]
OneOrMany = str | list[str]
