"""The JSON Schema of the config (draft 2020-12), with which editors complete and check it.

Made from the same shapes as the decoder, so that both agree. Called by `npserver schema`.
"""

from __future__ import annotations

from typing import Any

from npserver.config import extensions
from npserver.config.schema import Config
from npserver.config.section import Section
from npserver.config.shape import (
    Choice,
    Either,
    Key,
    Kind,
    Many,
    Scalar,
    SectionShape,
    Shape,
    Table,
    Tagged,
    section_keys,
)
from npserver.config.units import Seconds, Size
from npserver.web.config import HttpRule

#: Whatever the schema calls a JSON object, for `$defs`.
Node = dict[str, Any]

_SIZE_TEXT = r"^\s*[0-9]+(\.[0-9]+)?\s*[kKmMgGtT]?([iI]?[bB])?\s*$"
_SECONDS_TEXT = r"^\s*[0-9]+(\.[0-9]+)?\s*(ms|s|m|h|d)?\s*$"
_SCALARS: dict[Kind, Node] = {
    Kind.TEXT: {"type": "string"},
    Kind.WHOLE: {"type": "integer"},
    Kind.TRUTH: {"type": "boolean"},
    Kind.NULL: {"type": "null"},
    Kind.ANYTHING: {},
    Kind.SIZE: {"$ref": "#/$defs/Size"},
    Kind.SECONDS: {"$ref": "#/$defs/Seconds"},
}


def json_schema() -> Node:
    """Return the whole schema."""
    definitions: Node = {
        "Size": {
            "description": "Bytes: a whole number, or text with a suffix k, m, g, t (powers of 1024)",
            "examples": [65536, "64k", "10m"],
            "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": _SIZE_TEXT}],
        },
        "Seconds": {
            "description": "A time: seconds, or text with a suffix ms, s, m, h, d",
            "examples": [10, "500ms", "5m"],
            "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": _SECONDS_TEXT}],
        },
    }
    root = _object(Config, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "npserver configuration",
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


def plain(value: Any) -> Any:
    """Return a default as the config would write it: sizes and times as numbers, objects by their keys."""
    if isinstance(value, Section):
        keys = section_keys(type(value)).values()
        return {key.name: plain(one) for key in keys if (one := getattr(value, key.attribute)) is not None}
    if isinstance(value, Size):
        return int(value)
    if isinstance(value, Seconds):
        return int(value) if value.is_integer() else float(value)
    return value


def _object(struct: type[Section], definitions: Node, tag: tuple[str, str] | None = None) -> Node:
    keys = section_keys(struct).values()
    properties: Node = {}
    if tag is not None:
        properties[tag[0]] = {"const": tag[1], "description": "what the rule does"}
    for key in [*keys, *(extensions.added_keys() if issubclass(struct, HttpRule) else ())]:
        properties[key.name] = _property(key, definitions)
    required = [key.name for key in keys if key.required]
    return {
        "description": (struct.__doc__ or "").strip(),
        "type": "object",
        "properties": properties,
        "required": [tag[0], *required] if tag else required,
        "additionalProperties": False,
    }


def _property(key: Key, definitions: Node) -> Node:
    node = {"description": key.description, **_node(key.shape, definitions)}
    if key.empty:
        node |= {"minItems": 1, "minLength": 1}
    if not key.required and key.default is not None and not (key.empty and not key.default):
        node["default"] = plain(key.default)
    return node


def _node(shape: Shape, definitions: Node) -> Node:
    match shape:
        case Scalar(kind, low, high):
            node = dict(_SCALARS[kind])
            if low is not None:
                node["minimum"] = low
            if high is not None:
                node["maximum"] = high
            if kind in (Kind.SIZE, Kind.SECONDS) and not shape.zero:
                node["not"] = {"const": 0}
            return node
        case Choice(values):
            return {"enum": list(values)}
        case Many(item):
            return {"type": "array", "items": _node(item, definitions)}
        case Table(value):
            return {"type": "object", "additionalProperties": _node(value, definitions)}
        case Either(options):
            return {"anyOf": [_node(option, definitions) for option in options]}
        case SectionShape(struct):
            return _reference(struct, definitions)
        case Tagged(tag):
            kinds = extensions.sections_of(shape)
            return {"oneOf": [_reference(part.struct, definitions, (tag, name)) for name, part in kinds.items()]}


def _reference(struct: type[Section], definitions: Node, tag: tuple[str, str] | None = None) -> Node:
    """Define a struct once, refer to it everywhere."""
    name, module = struct.__name__, struct.__module__
    if not module.startswith("npserver."):  # another package may use the same name
        name = f"{module}.{name}"
    if name not in definitions:
        definitions[name] = {}  # the name is taken while its own parts are defined
        definitions[name] = _object(struct, definitions, tag)
    return {"$ref": f"#/$defs/{name}"}
