"""Handlers and middleware of other installed packages, found by their entry points.

In the group `npserver.handlers` an entry point has the name of the handler and leads to its
`web.handlers.kinds.HandlerKind`. In the group `npserver.middleware` it has the name of the key that is added to every
HTTP rule, and leads to a `web.middleware.order.AddedMiddleware`. Entry points are looked up only when a config has a
handler or a key that npserver does not know, and by `npserver schema`: other starts pay nothing.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, get_args

from npserver.config.schema import AnyRule
from npserver.config.shape import Key, SectionShape, Tagged, make_key, section_keys
from npserver.web.config import HttpRule

HANDLER, MIDDLEWARE = "handler", "middleware"
GROUPS = {HANDLER: "npserver.handlers", MIDDLEWARE: "npserver.middleware"}


class ExtensionError(ValueError):
    """An entry point cannot be used; the message says which, of which package, and why."""


@cache
def names(kind: str) -> tuple[str, ...]:
    """Return the names of the extensions of a kind, `handler` or `middleware`."""
    return tuple(sorted({point.name for point in _points(kind)}))


@cache
def find(kind: str, name: str) -> Any:
    """Return the extension of this kind and name; None if no installed package has it.

    Raises: ExtensionError if it cannot be imported, or is not what it should be.
    """
    found = {point.value: point for point in _points(kind) if point.name == name}
    if not found:
        return None
    point = next(iter(found.values()))
    label = f"{kind} {name!r} of {_package(point)}"
    if len(found) > 1:
        others = " and ".join(sorted(_package(one) for one in found.values()))
        raise ExtensionError(f"{kind} {name!r} is provided by {others}: uninstall one of them")
    try:
        extension = point.load()
    except Exception as error:  # whatever a foreign module raises
        raise ExtensionError(f"{label} cannot be imported from {point.value!r}: {_explain(error)}") from error
    wanted = "a HandlerKind" if kind == HANDLER else "an AddedMiddleware"
    try:
        fault = _handler_fault(extension, name) if kind == HANDLER else _middleware_fault(extension, name)
    except Exception as error:
        raise ExtensionError(f"{label}: {point.value!r} is not {wanted}: {_explain(error)}") from error
    if fault:
        raise ExtensionError(f"{label}: {fault}")
    return extension


def added_key(name: str) -> Key | None:
    """Return the key `name` that middleware adds to every HTTP rule; None if none does. Raises: ExtensionError."""
    extension = find(MIDDLEWARE, name)
    return None if extension is None else _added(name, extension)


def added_keys() -> list[Key]:
    """Return all keys that middleware adds to HTTP rules; what cannot be used is left out."""
    found = []
    for name in names(MIDDLEWARE):
        try:
            key = added_key(name)
        except ExtensionError:
            continue
        if key is not None:
            found.append(key)
    return found


def section_of(shape: Tagged, name: str) -> SectionShape | None:
    """Return the section that an installed package adds to a shape. Raises: ExtensionError."""
    if shape.tag != HANDLER or (extension := find(HANDLER, name)) is None:
        return None
    return SectionShape(extension.section)


def sections_of(shape: Tagged) -> dict[str, SectionShape]:
    """Return all options of a shape, those of installed packages included; what cannot be used is left out."""
    found = dict(shape.options)
    for name in names(HANDLER) if shape.tag == HANDLER else ():
        try:
            added = section_of(shape, name)
        except ExtensionError:
            continue
        if added is not None:
            found.setdefault(name, added)
    return found


def faults() -> list[str]:
    """Return what is wrong with installed extensions."""
    found = []
    for kind in GROUPS:
        for name in names(kind):
            try:
                find(kind, name)
            except ExtensionError as error:
                found.append(str(error))
    return found


def _handler_fault(extension: Any, name: str) -> str:
    """Return what is wrong with a `HandlerKind`, or nothing."""
    section = extension.section
    section_keys(section)
    config = section.__struct_config__
    if not issubclass(section, HttpRule) or (config.tag_field, config.tag) != (HANDLER, name):
        return f"its section {section.__name__} must be an HttpRule with tag_field={HANDLER!r} and tag={name!r}"
    return ""


def _middleware_fault(extension: Any, name: str) -> str:
    """Return what is wrong with an `AddedMiddleware`, or nothing."""
    _added(name, extension)
    if any(name in section_keys(section) for section in get_args(AnyRule)):
        return f"npserver has a key {name!r} of its own: give the entry point another name"
    if extension.before and extension.after:
        return "give it 'before' or 'after', not both"
    return "" if callable(extension.compile) else "its 'compile' must be a function"


def _added(name: str, extension: Any) -> Key:
    return make_key(name, name, extension.value, required=False, default=None)


def _points(kind: str) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=GROUPS[kind]))


def _package(point: EntryPoint) -> str:
    return f"package {point.dist.name} {point.dist.version}" if point.dist else f"entry point {point.value!r}"


def _explain(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]
