"""The values that each key of the schema accepts, derived from the annotations of the structs.

`config.decode` follows a shape to check and convert a value, `config.jsonschema` and `config.reference` to describe it.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from enum import Enum
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Struct
from msgspec.structs import fields

from npserver.config.section import Section
from npserver.config.units import Seconds, Size


class Kind(Enum):
    """The types of single values, with the words that messages use for them."""

    TEXT = "a string"
    WHOLE = "a whole number"
    TRUTH = "true or false"
    SIZE = 'a size such as 65536 or "64k"'
    SECONDS = 'a time such as 10, "500ms" or "5m"'
    NULL = "null"
    ANYTHING = "any value"


class Scalar(Struct, frozen=True):
    """A single value; `low` and `high` bound whole numbers, `zero` says what 0 means for a size or a time."""

    kind: Kind
    low: int | None = None
    high: int | None = None
    zero: str = ""  # see `config.section.D`


NULL = Scalar(Kind.NULL)


class Choice(Struct, frozen=True):
    """One of a few values."""

    values: tuple[str | int, ...]


class Many(Struct, frozen=True):
    """A list."""

    item: Shape


class Table(Struct, frozen=True):
    """An object whose keys the user chooses."""

    value: Shape
    opaque: str = ""  # not "": the values are objects that are not looked into; says what an error asks for


class SectionShape(Struct, frozen=True):
    """An object with the keys of `struct`; `section_keys` gives them."""

    struct: type[Section]


class Tagged(Struct, frozen=True):
    """An object whose key `tag` says which struct's keys it has."""

    tag: str
    options: dict[str, SectionShape]


class Either(Struct, frozen=True):
    """One of several shapes, told apart by the JSON type of the value."""

    options: tuple[Shape, ...]


Shape = Scalar | Choice | Many | Table | SectionShape | Tagged | Either


class Key(Struct, frozen=True):
    """One key of an object."""

    name: str  # in the config file
    attribute: str  # in the struct
    shape: Shape
    description: str
    needs: str  # the section without which the value may mean nothing
    required: bool
    is_secret: bool  # the value itself is: messages do not quote it
    empty: str  # what applies without the key; not "": an empty value is a fault
    default: Any  # what stands in for an absent key that is not required


_KINDS: dict[object, Kind] = {
    str: Kind.TEXT,
    int: Kind.WHOLE,
    bool: Kind.TRUTH,
    Size: Kind.SIZE,
    Seconds: Kind.SECONDS,
    type(None): Kind.NULL,
    object: Kind.ANYTHING,
}


@cache
def section_keys(struct: type[Section]) -> dict[str, Key]:
    """Return the keys of an object, by their names in the config."""
    keys = {}
    for one in fields(struct):
        if (_meta(one.type).extra or {}).get("hidden"):
            continue
        if one.default_factory is not msgspec.NODEFAULT:
            default = one.default_factory()
        else:
            default = None if one.default is msgspec.NODEFAULT else one.default
        keys[one.encode_name] = make_key(one.encode_name, one.name, one.type, required=one.required, default=default)
    return keys


def make_key(name: str, attribute: str, annotation: Any, *, required: bool, default: Any) -> Key:
    """Make a key from its annotation. Raises: KeyError for a type that keys cannot have."""
    meta = _meta(annotation)
    extra = meta.extra or {}
    zero = extra.get("zero", "")
    shape = _shape(annotation, _bound(meta.ge), _bound(meta.le), zero)
    if (opaque := extra.get("opaque")) and isinstance(shape, Table):
        shape = Table(shape.value, opaque)
    description = f"{meta.description or ''}{f'; 0: {zero}' if zero else ''}"
    needs, is_secret, empty = extra.get("needs", ""), extra.get("secret", False), extra.get("empty", "")
    return Key(name, attribute, shape, description, needs, required, is_secret, empty, default)


def describe(shape: Shape) -> str:
    """Return the words for a shape in messages: `a string or a list of strings`; null is not mentioned."""
    match shape:
        case Scalar(Kind.WHOLE, low, high) if low is not None:
            return f"a whole number from {low} {'up' if high is None else f'to {high}'}"
        case Scalar(kind):
            return kind.value
        case Choice(values) if len(values) > 1:
            return f"one of {', '.join(_words(shape))}"
        case Many(item):
            return f"a list of {_plural(item)}"
        case Either(options):
            kept = [option for option in options if option != NULL]
            if len(kept) == 1:
                return describe(kept[0])
            *first, last = [word for option in kept for word in _words(option)]
            return f"{', '.join(first)} or {last}"
        case Choice():
            return _words(shape)[0]
        case _:
            return "an object"


def _words(shape: Shape) -> list[str]:
    """Return the words for each of the few values that a shape accepts, else those for all."""
    match shape:
        case Choice(values):
            return [f'"{value}"' if isinstance(value, str) else str(value) for value in values]
        case Scalar(Kind.TRUTH):
            return ["true", "false"]
        case _:
            return [describe(shape)]


def _plural(shape: Shape) -> str:
    """Return the words for the items of a list."""
    match shape:
        case Scalar(Kind.TEXT):
            return "strings"
        case Scalar(Kind.WHOLE):
            return "whole numbers"
        case Scalar() | Choice():
            return ", ".join(_words(shape))
        case Either(options):
            return " or ".join(_plural(option) for option in options if option != NULL)
        case Many():
            return "lists"
        case _:
            return "objects"


def key_references(*structs: type[Section]) -> dict[str, set[str]]:
    """Return the names of all keys of sections and their parts that need another section, by that section."""
    found: dict[str, set[str]] = {}
    for part in all_sections(*structs):
        for key in section_keys(part).values():
            if key.needs:
                found.setdefault(key.needs, set()).add(key.name)
    return found


def all_sections(*structs: type[Section]) -> list[type[Section]]:
    """Return sections and all their parts, each once."""
    seen: set[type[Section]] = set()
    return [part for struct in structs for part in _sections_of(SectionShape(struct), seen)]


def _sections_of(shape: Shape, seen: set[type[Section]]) -> Iterator[type[Section]]:
    match shape:
        case SectionShape(struct) if struct not in seen:
            seen.add(struct)
            yield struct
            for key in section_keys(struct).values():
                yield from _sections_of(key.shape, seen)
        case Many(inner) | Table(inner):
            yield from _sections_of(inner, seen)
        case Either(options):
            for option in options:
                yield from _sections_of(option, seen)
        case Tagged(_, parts):
            for part in parts.values():
                yield from _sections_of(part, seen)
        case _:
            pass


def _meta(annotation: Any) -> msgspec.Meta:
    """Return what `config.section.D` made for an annotation."""
    for extra in get_args(annotation)[1:] if get_origin(annotation) is Annotated else ():
        if isinstance(extra, msgspec.Meta):
            return extra
    return msgspec.Meta()


def _bound(value: float | None) -> int | None:
    return None if value is None else int(value)


def _shape(annotation: Any, low: int | None = None, high: int | None = None, zero: str = "") -> Shape:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _shape(arguments[0], low, high, zero)
    if origin is Literal:
        return Choice(arguments)
    if origin is list:
        return Many(_shape(arguments[0]))
    if origin is dict:
        return Table(_shape(arguments[1]))
    if origin in {Union, types.UnionType}:
        options = [argument for argument in arguments if argument is not type(None)]
        return _either([_shape(one, low, high, zero) for one in options] + [NULL] * (len(options) < len(arguments)))
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return SectionShape(annotation)
    if annotation is str:
        low = high = None  # bounds of a number that may be written as text too
    return Scalar(_KINDS[annotation], low, high, zero if annotation in (Size, Seconds) else "")


def _either(options: list[Shape]) -> Shape:
    parts = [option for option in options if isinstance(option, SectionShape)]
    if len(parts) > 1:
        configs = [(part, part.struct.__struct_config__) for part in parts]
        return Tagged(configs[0][1].tag_field or "", {str(config.tag): part for part, config in configs})
    return Either(tuple(options))
