"""Handlers of other installed packages, found by their entry points in the group `npserver.handlers`.

The name of an entry point is the handler's; it leads to a `web.handlers.kinds.HandlerKind`. Entry points are looked up
only when a rule names a handler that npserver does not have, and by `npserver schema`: other starts pay nothing.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from npserver.config.shape import Part, Tagged, part_keys
from npserver.web.config import HttpRule

#: Entry point groups, by the key of the config whose values they extend.
GROUPS = {"handler": "npserver.handlers"}


class ExtensionError(ValueError):
    """An entry point cannot be used; the message says which, of which package, and why."""


@cache
def names(key: str) -> tuple[str, ...]:
    """Return the values that installed packages add to a key such as `handler`."""
    return tuple(sorted({point.name for point in _points(key)}))


@cache
def find(key: str, name: str) -> Any:
    """Return the object that adds `name` to the values of `key`; None if no package does.

    Raises: ExtensionError if it cannot be imported, or is not what it should be.
    """
    found = {point.value: point for point in _points(key) if point.name == name}
    if not found:
        return None
    point = next(iter(found.values()))
    label = f"{key} {name!r} of {_package(point)}"
    if len(found) > 1:
        others = " and ".join(sorted(_package(one) for one in found.values()))
        raise ExtensionError(f"{key} {name!r} is provided by {others}: uninstall one of them")
    try:
        extension = point.load()
    except Exception as error:  # whatever a foreign module raises
        raise ExtensionError(f"{label} cannot be imported from {point.value!r}: {_explain(error)}") from error
    try:
        section = extension.section
        part_keys(section)
        config = section.__struct_config__
    except Exception as error:
        raise ExtensionError(f"{label}: {point.value!r} is not a HandlerKind: {_explain(error)}") from error
    if not issubclass(section, HttpRule) or (config.tag_field, config.tag) != (key, name):
        wanted = f"HttpRule with tag_field={key!r} and tag={name!r}"
        raise ExtensionError(f"{label}: its section {section.__name__} must be a subclass of {wanted}")
    return extension


def part(shape: Tagged, name: str) -> Part | None:
    """Return the section that an installed package adds to a shape. Raises: ExtensionError."""
    if shape.tag not in GROUPS or (extension := find(shape.tag, name)) is None:
        return None
    return Part(extension.section)


def parts(shape: Tagged) -> dict[str, Part]:
    """Return all options of a shape, those of installed packages included; what cannot be used is left out."""
    found = dict(shape.options)
    for name in names(shape.tag) if shape.tag in GROUPS else ():
        try:
            added = part(shape, name)
        except ExtensionError:
            continue
        if added is not None:
            found.setdefault(name, added)
    return found


def faults() -> list[str]:
    """Return what is wrong with installed extensions."""
    found = []
    for key in GROUPS:
        for name in names(key):
            try:
                find(key, name)
            except ExtensionError as error:
                found.append(str(error))
    return found


def _points(key: str) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=GROUPS[key]))


def _package(point: EntryPoint) -> str:
    return f"package {point.dist.name} {point.dist.version}" if point.dist else f"entry point {point.value!r}"


def _explain(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]
