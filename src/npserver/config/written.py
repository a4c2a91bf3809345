"""Write a config as it is understood: all its files in one, with values put in, and without its secrets.

Called by `npserver check -print`. What is written is loaded to the same config, but for secrets that stand in the
config itself. Texts with a secret of a variable or file are written as they are in the config; the values of keys that
hold secrets are not written at all.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from npserver.config.assemble import assemble
from npserver.config.decode import suited
from npserver.config.defaults import USE
from npserver.config.expand import OFTEN_SECRET, Expanded
from npserver.config.schema import Config
from npserver.config.shape import Either, Kind, Many, Scalar, SectionShape, Shape, Table, Tagged, section_keys
from npserver.web.config import HttpRule, Rule

if TYPE_CHECKING:
    from npserver.config.files import ConfigFiles
    from npserver.config.section import Section

HIDDEN = "(secret)"  # instead of a secret that stands in the config
_ANY: Shape = Scalar(Kind.ANYTHING)


def write_config(text: str, file: str, files: ConfigFiles) -> str:
    """Return the JSON of a config that has been loaded before: `text`, the content of `file`, and `files`."""
    shown = _shown(assemble(text, file, files).value, SectionShape(Config), is_secret=False, is_often=False)
    return json.dumps(shown, indent=2, ensure_ascii=False)


def _shown(value: Any, shape: Shape, *, is_secret: bool, is_often: bool) -> Any:
    """Return a value as it is written. `is_often`: whether it is one of the keys whose texts may hold a secret."""
    if type(value) is Expanded:
        return _text(value, shape, is_secret=is_secret or is_often)
    if isinstance(value, dict):
        return _object(value, shape, is_secret=is_secret, is_often=is_often)
    if isinstance(value, list):
        item = next((one.item for one in _options(shape) if isinstance(one, Many)), _ANY)
        return [_shown(one, item, is_secret=is_secret, is_often=is_often) for one in value]
    return HIDDEN if is_secret and value is not None and not isinstance(value, bool) else value


def _text(text: Expanded, shape: Shape, *, is_secret: bool) -> Any:
    """Return an expanded text: with its values where they are no secrets and read as they are."""
    if (value := suited(text, shape)) is not text and not isinstance(value, str):
        return value
    if not text.values:
        return HIDDEN if is_secret else text.template
    if is_secret or text.has_secret or any("$" in one for _, one in text.values):
        return text.written
    return text.template


def _object(value: dict[str, Any], shape: Shape, *, is_secret: bool, is_often: bool) -> dict[str, Any]:
    struct, inner = _struct(value, shape), _ANY
    if struct is None:
        inner = next((one.value for one in _options(shape) if isinstance(one, Table) and not one.opaque), _ANY)
        return {name: _shown(one, inner, is_secret=is_secret, is_often=is_often) for name, one in value.items()}
    shown = {}
    for name, one in value.items():
        if name == USE and issubclass(struct, Rule):
            continue
        key = section_keys(struct).get(name)
        if key is None and issubclass(struct, HttpRule):
            from npserver.config import extensions

            key = extensions.added_key(name)
        secret = is_secret or (key is not None and key.is_secret)
        often = is_often or name in OFTEN_SECRET
        shown[name] = _shown(one, _ANY if key is None else key.shape, is_secret=secret, is_often=often)
    return shown


def _struct(value: dict[str, Any], shape: Shape) -> type[Section] | None:
    """Return the section that an object is; None for one whose keys the user chooses."""
    for option in _options(shape):
        match option:
            case SectionShape(struct):
                return struct
            case Tagged(tag, parts):
                from npserver.config import extensions

                chosen = str(value.get(tag))
                part = parts.get(chosen) or extensions.section_of(option, chosen)
                return None if part is None else part.struct
    return None


def _options(shape: Shape) -> tuple[Shape, ...]:
    return shape.options if isinstance(shape, Either) else (shape,)
