"""Parts of the config as HTML, with what their keys mean. The text is that of the file which the server runs with."""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, Any

from npserver.config.jsonc import JsonError, parse
from npserver.config.schema import Config
from npserver.config.shape import Either, Many, SectionShape, Shape, Table, Tagged, section_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_WIDTH = 56  # characters of an object or a list in one line


class Excerpts:
    """Reads parts of one config."""

    __slots__ = ("_config", "fault")

    def __init__(self, text: str) -> None:
        """Read the text of a config. `fault`: why it cannot be read, or ""."""
        self._config: dict[str, Any] = {}
        self.fault = ""
        try:
            value = parse(text).value
            self._config = value if isinstance(value, dict) else {}
        except JsonError as error:
            self.fault = str(error)

    def html(self, parts: Iterable[tuple[str, str]]) -> str:
        """Return parts of the config, and what their keys mean. `parts`: as those of a `tour.steps.Step`."""
        shown: list[str] = []
        meanings: dict[str, str] = {}
        for section, name in parts:
            found = self._part(section, name)
            if found is None:
                shown.append(f'<p class="soft">The config has no {escape(section)} {escape(name)} any more.</p>')
                continue
            shape = section_keys(Config)[section].shape
            meanings |= dict(_meanings({section: found}, SectionShape(Config)))
            shown.append(
                f"<pre>{_key(section, section_keys(Config)[section].description)}: {_text(found, shape, 0)}</pre>"
            )
        rows = "".join(f"<dt>{escape(key)}</dt><dd>{_marked(text)}</dd>" for key, text in meanings.items())
        return f"{''.join(shown)}<details><summary>What the keys mean</summary><dl>{rows}</dl></details>"

    def _part(self, section: str, name: str) -> Any:
        """Return a section; of one with entries, only the entry with this name."""
        value = self._config.get(section)
        if not name or value is None:
            return value
        if isinstance(value, list):
            entries = [one for one in value if isinstance(one, dict) and name in _names(section, one)]
            return entries[:1] or None
        return {name: value[name]} if isinstance(value, dict) and name in value else None


def _names(section: str, entry: dict[str, Any]) -> list[Any]:
    """Return what an entry of a list is called: a listener its name, a rule its path or its listeners."""
    if section == "listen":
        return [entry.get("name")]
    listeners = entry.get("listener")
    if listeners is not None:
        return listeners if isinstance(listeners, list) else [listeners]
    return [entry.get("path", "/**")]


def _chosen(value: Any, shape: Shape) -> Shape:
    """Return the shape that a value has, of several that are possible."""
    if isinstance(shape, Either):
        wanted = (
            (Many,) if isinstance(value, list) else (SectionShape, Tagged, Table) if isinstance(value, dict) else ()
        )
        return next((one for one in shape.options if isinstance(one, wanted)), shape)
    return shape


def _inner(value: dict[str, Any], shape: Shape) -> Iterator[tuple[str, Any, Shape | None, str]]:
    """Yield key, value, shape and description of what is in an object."""
    shape, tag = _chosen(value, shape), ""
    if isinstance(shape, Tagged):
        tag, option = shape.tag, value.get(shape.tag)
        shape = shape.options.get(option, shape) if isinstance(option, str) else shape
    known = section_keys(shape.struct) if isinstance(shape, SectionShape) else {}
    for name, one in value.items():
        if isinstance(shape, Table):
            yield name, one, shape.value, ""
        elif name == tag:
            yield name, one, None, "what the rule does"
        elif name in known:
            yield name, one, known[name].shape, known[name].description
        else:
            yield name, one, None, ""


def _meanings(value: Any, shape: Shape | None) -> Iterator[tuple[str, str]]:
    """Yield the keys in a value, and what they mean."""
    if shape is None:
        return
    if isinstance(value, dict):
        for name, one, inner, meaning in _inner(value, shape):
            if meaning:
                yield name, meaning
            yield from _meanings(one, inner)
    elif isinstance(value, list):
        shape = _chosen(value, shape)
        for one in value:
            yield from _meanings(one, shape.item if isinstance(shape, Many) else None)


def _text(value: Any, shape: Shape | None, depth: int) -> str:
    """Return a value as JSON in HTML; each key has its meaning as its title."""
    if isinstance(value, (dict, list)) and len(json.dumps(value)) > _WIDTH - depth:
        before, after, between = "\n" + " " * (depth + 2), "\n" + " " * depth, ",\n" + " " * (depth + 2)
    else:
        before, after, between = " " * isinstance(value, dict), " " * isinstance(value, dict), ", "
    if isinstance(value, dict) and value:
        inner = _inner(value, shape) if shape is not None else ((name, one, None, "") for name, one in value.items())
        items = [f"{_key(name, meaning)}: {_text(one, of, depth + 2)}" for name, one, of, meaning in inner]
        return f"{{{before}{between.join(items)}{after}}}"
    if isinstance(value, list) and value:
        chosen = _chosen(value, shape) if shape is not None else None
        item = chosen.item if isinstance(chosen, Many) else None
        return f"[{before}{between.join(_text(one, item, depth + 2) for one in value)}{after}]"
    return escape(json.dumps(value, ensure_ascii=False))


def _key(name: str, meaning: str) -> str:
    title = f' title="{escape(meaning.replace("`", ""))}"' if meaning else ""
    return f"<i{title}>&quot;{escape(name)}&quot;</i>"


def _marked(text: str) -> str:
    """Return a description with its code marked as such."""
    return "".join(
        f"<code>{escape(part)}</code>" if at % 2 else escape(part) for at, part in enumerate(text.split("`"))
    )
