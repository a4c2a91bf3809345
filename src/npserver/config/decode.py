"""Turn parsed JSON into the structs of the schema, collecting everything that is wrong.

Called by `config.load`. Each value is converted on its own, so one faulty key hides no other. Problems are given by
path; whether the key or its value is meant decides which column is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct, field

from npserver.config.expand import OFTEN_SECRET, Expanded
from npserver.config.jsonc import Path
from npserver.config.schema import Config
from npserver.config.section import NO_LIMIT, Section
from npserver.config.shape import (
    Choice,
    Either,
    Kind,
    Many,
    Scalar,
    SectionShape,
    Shape,
    Table,
    Tagged,
    describe,
    section_keys,
)
from npserver.config.units import MAX_SECONDS, MAX_SIZE, Seconds, Size, parse_seconds, parse_size
from npserver.errors import clip
from npserver.guess import get_close_matches
from npserver.regex import regex
from npserver.web.config import HttpRule

_WHOLE = regex(r"-?(?:0|[1-9][0-9]{0,17})")


class Fault(Struct, frozen=True):
    """Something wrong with the value at `path`, or with its key."""

    path: Path
    message: str
    is_key: bool = False


class ConfigDecoder(Struct):
    """Converts values by their shape.

    What cannot be converted is a fault, and left out: a faulty key has its default, an item of a list or an object
    without what it needs is gone. So what is left can still be looked at.
    """

    faults: list[Fault] = field(default_factory=list)
    #: By the path of a list that lacks items: the places that those kept had.
    kept: dict[Path, list[int]] = field(default_factory=dict)
    #: The first keys of the paths of all that is gone with its name.
    gone: set[str] = field(default_factory=set)
    is_secret: bool = False  # what is being converted

    def convert(self, value: Any, shape: Shape, path: Path) -> Any:
        """Return `value` as the schema's type; None, with a fault recorded, if it cannot be converted."""
        if type(value) is Expanded:
            value = suited(value, shape)
        match shape:
            case Scalar():
                return self._scalar(value, shape, path)
            case Choice(values):
                return self._choice(value, values, shape, path)
            case Either(options):
                for option in options:
                    if isinstance(option, Choice) and _takes(option, value):
                        return self._choice(value, option.values, shape, path)
                    if _takes(option, value):
                        if isinstance(option, Scalar):
                            return self._scalar(value, option, path, shape)
                        return self.convert(value, option, path)
            case Many(item):
                if isinstance(value, list):
                    return self._many(value, item, path)
            case Table(inner, opaque) if isinstance(value, dict):
                return self._opaque(value, opaque, path) if opaque else self._table(value, inner, path)
            case SectionShape(struct) if isinstance(value, dict):
                return self._part(value, struct, path)
            case Tagged() if isinstance(value, dict):
                return self._tagged(value, shape, path)
        return self._unexpected(value, shape, path)

    def _many(self, value: list[Any], item: Shape, path: Path) -> list[Any]:
        items = [self.convert(one, item, (*path, index)) for index, one in enumerate(value)]
        if not any(one is None for one in items):
            return items
        self.kept[path] = [index for index, one in enumerate(items) if one is not None]
        self.gone.add(str(path[0]))
        return [one for one in items if one is not None]

    def _table(self, value: dict[str, Any], inner: Shape, path: Path) -> dict[str, Any]:
        items = {}
        for key, one in value.items():
            faults_before = len(self.faults)
            converted = self.convert(one, inner, (*path, key))
            if converted is not None or len(self.faults) == faults_before:
                items[key] = converted
            else:
                self.gone.add(str(path[0]))
        return items

    def _scalar(self, value: Any, shape: Scalar, path: Path, whole: Shape | None = None) -> Any:
        """Convert a single value. `whole`: the shape of the key, of which `shape` is one option."""
        if (parse := _PARSERS.get(shape.kind)) is not None:
            try:
                return parse(value) or self._zero(value, shape, path)
            except ValueError as error:
                if whole is not None and str(error).startswith("expected "):
                    return self._unexpected(value, whole, path)
                return self._fault(path, f"{_name(path)}: {error}")
        if not _takes(shape, value):
            return self._unexpected(value, shape, path)
        low, high = shape.low, shape.high
        if (low is not None and value < low) or (high is not None and value > high):
            return self._unexpected(value, whole or shape, path)
        if shape.kind is Kind.TEXT and "\0" in value:
            return self._fault(path, f"{_name(path)}: NUL in {'it' if self.is_secret else clip(value)}")
        if type(value) is Expanded and not value.is_special and OFTEN_SECRET.isdisjoint(path):
            return str(value)
        return value

    def _zero(self, value: Any, shape: Scalar, path: Path) -> Any:
        """Return what a size or a time of 0 stands for; it is a fault where it would switch off what cannot be off."""
        if not shape.zero:
            return self._fault(
                path, f"{_name(path)}: must be above 0, got {self._quote(value)}; without it the default applies"
            )
        largest = shape.zero == NO_LIMIT
        if shape.kind is Kind.SIZE:
            return Size(MAX_SIZE if largest else 0)
        return Seconds(MAX_SECONDS if largest else 0)

    def _choice(self, value: Any, values: tuple[str | int, ...], shape: Shape, path: Path) -> Any:
        if isinstance(value, (str, int)) and not isinstance(value, bool) and value in values:
            return value
        hint = ""
        if isinstance(value, str):
            known = [str(one) for one in values]
            hint = "; write it without quotes" if value in known else did_you_mean(value, known)
        return self._fault(path, f"{_name(path)}: expected {describe(shape)}, got {self._quote(value)}{hint}")

    def _opaque(self, value: dict[str, Any], expected: str, path: Path) -> dict[str, Any]:
        """Take objects as they are: another module knows their forms, and there may be a great many."""
        for name, one in value.items():
            if type(one) is not dict:
                self._fault((*path, name), f"{clip(name)}: expected {expected}, got {self._quote(one)}")
        return value

    def _part(self, value: dict[str, Any], struct: type[Section], path: Path, tag: str = "") -> Any:
        keys = section_keys(struct)
        attributes: dict[str, Any] = {}
        added: dict[str, Any] = {}  # by middleware of installed packages
        for name, one in value.items():
            if (key := keys.get(name)) is not None:
                faults_before = len(self.faults)
                outer, self.is_secret = self.is_secret, self.is_secret or key.is_secret
                converted = self.convert(one, key.shape, (*path, name))
                self.is_secret = outer
                if key.empty and one in ([], ""):
                    self._fault((*path, name), f"{clip(name)} names nothing: leave it out for {key.empty}")
                if converted is not None or len(self.faults) == faults_before:
                    attributes[key.attribute] = converted
                elif len(path) == 0:
                    self.gone.add(name)
            elif not tag or name != tag:
                self._unknown(name, one, struct, path, added)
        if added:
            attributes["added"] = added
        if missing := [f'"{key.name}"' for key in keys.values() if key.required and key.name not in value]:
            self._fault(path, f"{_owner(struct, path)} needs {' and '.join(missing)}", is_key=True)
        is_whole = all(key.attribute in attributes for key in keys.values() if key.required)
        return struct(**attributes) if is_whole else None

    def _unknown(self, name: str, value: Any, struct: type[Section], path: Path, added: dict[str, Any]) -> None:
        """Convert the value of a key that `struct` lacks into `added`, if middleware of an installed package has it."""
        place = (*path, name)
        others: tuple[str, ...] = ()
        if issubclass(struct, HttpRule):
            from npserver.config import extensions

            try:
                key = extensions.added_key(name)
            except extensions.ExtensionError as error:
                return self._fault(place, str(error), is_key=True)
            if key is not None:
                if (converted := self.convert(value, key.shape, place)) is not None:
                    added[name] = converted
                return None
            others = extensions.names(extensions.MIDDLEWARE)
        return self._fault(place, self._unknown_key(name, [*section_keys(struct), *others], struct, path), is_key=True)

    def _tagged(self, value: dict[str, Any], shape: Tagged, path: Path) -> Any:
        tag, options = shape.tag, shape.options
        chosen = value.get(tag)
        if isinstance(chosen, str) and chosen in options:
            return self._part(value, options[chosen].struct, path, tag)
        if isinstance(chosen, str):
            return self._extension(value, chosen, shape, path)
        expected = ", ".join(f'"{name}"' for name in options)
        if tag in value:
            return self._fault((*path, tag), f"{tag!r}: expected one of {expected}, got {self._quote(chosen)}")
        telling = [name for name, part in options.items() if _own_keys(part, options) & value.keys()]
        expected = f'"{telling[0]}"?' if len(telling) == 1 else f"one of {expected}"
        mean = "did you mean " if len(telling) == 1 else "expected "
        return self._fault(path, f'a rule needs "{tag}"; {mean}{expected}', is_key=True)

    def _extension(self, value: dict[str, Any], chosen: str, shape: Tagged, path: Path) -> Any:
        """Convert an object of a kind that npserver does not have itself but an installed package may."""
        from npserver.config import extensions

        tag = shape.tag
        try:
            part = extensions.section_of(shape, chosen)
        except extensions.ExtensionError as error:
            return self._fault((*path, tag), str(error))
        if part is not None:
            return self._part(value, part.struct, path, tag)
        known = [*shape.options, *extensions.names(tag)]
        expected = ", ".join(f'"{name}"' for name in known)
        hint = did_you_mean(chosen, known) or f"; expected one of {expected}"
        return self._fault((*path, tag), f"unknown {tag} {self._quote(chosen)}{hint}")

    def _unknown_key(self, name: str, keys: list[str], struct: type[Section], path: Path) -> str:
        others = _other_handlers(name, struct)
        if others:
            own = struct.__struct_config__.tag
            return f"{clip(name)} belongs to handler {' and '.join(map(repr, others))}, not {str(own)!r}"
        if struct is Config and (sections := _sections_with(name)):
            return f"{clip(name)} belongs inside {' or '.join(f'{section!r}' for section in sections)}"
        if name in struct.elsewhere:
            return f"unknown key {clip(name)} in {_owner(struct, path)}; {struct.elsewhere[name]}"
        hint = did_you_mean(name, [*keys, "handler"] if struct.__struct_config__.tag else keys)
        return f"unknown key {clip(name)} in {_owner(struct, path)}{hint}"

    def _quote(self, value: Any) -> str:
        if self.is_secret:
            return "something else, which is secret and not shown"
        return f"{clip(value)}, whose value is something else" if type(value) is Expanded else clip(value)

    def _unexpected(self, value: Any, shape: Shape, path: Path) -> None:
        return self._fault(path, f"{_name(path)}: expected {describe(shape)}, got {self._quote(value)}")

    def _fault(self, path: Path, message: str, *, is_key: bool = False) -> None:
        self.faults.append(Fault(path, message, is_key))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'root'?` if one of the known names is close, else nothing."""
    lower = {one.lower(): one for one in known}
    close = get_close_matches(name.lower(), lower, 1, 0.65)
    return f"; did you mean {lower[close[0]]!r}?" if close else ""


_PARSERS: dict[Kind, Callable[[object], object]] = {Kind.SIZE: parse_size, Kind.SECONDS: parse_seconds}
_TYPES: dict[Kind, tuple[type, ...]] = {
    Kind.TEXT: (str,),
    Kind.WHOLE: (int,),
    Kind.TRUTH: (bool,),
    Kind.SIZE: (int, float, str),
    Kind.SECONDS: (int, float, str),
    Kind.NULL: (type(None),),
}


def _takes(shape: Shape, value: Any) -> bool:
    """Whether `value` is of the JSON type that `shape` is about, right or wrong otherwise."""
    kind_of_value = str if type(value) is Expanded else type(value)
    match shape:
        case Scalar(Kind.ANYTHING):
            return True
        case Scalar(kind):
            return kind_of_value in _TYPES[kind]
        case Choice(values):
            return kind_of_value in {type(one) for one in values}
        case Many():
            return isinstance(value, list)
        case Either(options):
            return any(_takes(option, value) for option in options)
        case _:
            return isinstance(value, dict)


def suited(text: Expanded, shape: Shape) -> Any:
    """Return an expanded text as the number, `true` or `false` that it is, if `shape` takes such and no such text."""
    options = shape.options if isinstance(shape, Either) else (shape,)
    choices = [value for option in options if isinstance(option, Choice) for value in option.values]
    kinds = {option.kind for option in options if isinstance(option, Scalar)}
    if text in choices:
        return str(text)
    if Kind.TEXT in kinds:
        return text
    if Kind.TRUTH in kinds and text in ("true", "false"):
        return text == "true"
    takes_numbers = Kind.WHOLE in kinds or any(type(value) is int for value in choices)
    return int(text) if takes_numbers and _WHOLE.fullmatch(text) else text


def _name(path: Path) -> str:
    """Return the name of the value at `path` for messages: its key, or that of the list it stands in."""
    names = [part for part in path if isinstance(part, str)]
    return clip(names[-1]) if names else "the config"


def _owner(struct: type[Section], path: Path) -> str:
    """Return the name of an object for messages: its handler, its key, or "the config"."""
    if tag := struct.__struct_config__.tag:
        return f"handler {str(tag)!r}"
    return _name(path)


def _handlers() -> dict[str, SectionShape]:
    dispatch = section_keys(Config)["dispatch"].shape
    assert isinstance(dispatch, Many)
    assert isinstance(dispatch.item, Tagged)
    return dispatch.item.options


def _other_handlers(name: str, struct: type[Section]) -> list[str]:
    """Return the handlers that have the key `name`, if `struct` is the section of another handler."""
    handlers = _handlers()
    if not any(part.struct is struct for part in handlers.values()):
        return []
    return [handler for handler, part in handlers.items() if name in section_keys(part.struct)]


def _own_keys(part: SectionShape, options: dict[str, SectionShape]) -> set[str]:
    """Return the keys that only this one of several structs has."""
    others = {key for other in options.values() if other is not part for key in section_keys(other.struct)}
    return section_keys(part.struct).keys() - others


def _sections_with(name: str) -> list[str]:
    """Return the sections of the config that have a key `name`."""
    sections = {key.name: key.shape for key in section_keys(Config).values()}
    return [
        section
        for section, shape in sections.items()
        if isinstance(shape, SectionShape) and name in section_keys(shape.struct)
    ]
