"""The configuration reference in `docs/configuration.md`, generated from the schema.

`python -m npserver.config.reference` prints it, as does `npserver schema -markdown`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

from npserver.config.jsonschema import plain
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

_INTRODUCTION = """\
# Configuration reference

Made from the schema by `npserver schema -markdown`; `npserver schema` prints the same as a JSON Schema for editors.

The config is one JSON file. Comments (`//` and `/* */`) and commas before a closing bracket are allowed. Unknown keys
are errors; `npserver check` says everything that is wrong at once, each as `file:line:column: message`.

- **size**: bytes as a whole number, or text with a suffix: `65536`, `"64k"`, `"10m"`, `"1g"` (powers of 1024).
- **time**: seconds as a number, or text with a suffix: `10`, `"500ms"`, `"5m"`, `"2h"`, `"7d"`.
- **0** as a limit or time means "no limit", where the key's description says so; where it says something else, that.
  A size or time whose description does not name 0 must be above it.
- **names of files** start at the config file's directory if there is such a file, else at the working directory; the
  access log is made in the config file's directory.
- **networks** are names from `networks`, CIDR texts such as `10.0.0.0/8`, or single addresses.

"""

_HEADINGS = ["| key | takes | default | meaning |", "|---|---|---|---|"]
_WORDS = {
    Kind.TEXT: "string",
    Kind.WHOLE: "whole number",
    Kind.TRUTH: "true, false",
    Kind.SIZE: "size",
    Kind.SECONDS: "time",
    Kind.NULL: "null",
    Kind.ANYTHING: "any",
}


def reference(*, with_extensions: bool = False) -> str:
    """Make the whole page; `with_extensions` adds the handlers and keys of other installed packages."""
    sections: dict[str, str] = {}
    _section("The config file", Config, "", sections)
    if with_extensions:
        from npserver.config.extensions import added_keys, sections_of

        dispatch = section_keys(Config)["dispatch"].shape
        assert isinstance(dispatch, Many)
        assert isinstance(dispatch.item, Tagged)
        every = Tagged(dispatch.item.tag, sections_of(dispatch.item))
        for struct, note in _parts(every):
            _section(_title(struct), struct, note, sections)
        if added := added_keys():
            title = "Keys that installed packages add to HTTP rules"
            sections[title] = "\n".join([f"## {title}", "", *_HEADINGS, *map(_row, added)]) + "\n"
    return _INTRODUCTION + "\n".join(sections.values())


def _section(title: str, struct: type[Section], note: str, sections: dict[str, str]) -> None:
    """Add the section of a struct, then those of its parts."""
    if title in sections:
        return
    keys = list(section_keys(struct).values())
    lines = [f"## {title}", "", (struct.__doc__ or "").strip(), ""]
    lines += [note, ""] if note else []
    lines += _HEADINGS
    lines += [_row(key) for key in keys if key.name != "$schema"]
    sections[title] = "\n".join(lines) + "\n"
    for key in keys:
        for child, child_note in _parts(key.shape):
            _section(_title(child), child, child_note, sections)


def _parts(shape: Shape) -> Iterator[tuple[type[Section], str]]:
    """Yield the structs inside a shape, each with a note that stands above the table of its keys."""
    match shape:
        case SectionShape(struct):
            yield struct, ""
        case Many(inner) | Table(inner):
            yield from _parts(inner)
        case Either(options):
            for option in options:
                yield from _parts(option)
        case Tagged(tag, options):
            for name, part in options.items():
                yield part.struct, f'A rule with `"{tag}": "{name}"`.'
        case _:
            pass


def _title(struct: type[Section]) -> str:
    tag = struct.__struct_config__.tag
    if tag:
        return f"Handler {tag}"
    name = struct.__name__.removesuffix("Section")
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).split()
    title = " ".join(word.upper() if word in {"tls", "dns"} else word for word in words)
    return title[0].upper() + title[1:]


def _row(key: Key) -> str:
    default = "**required**" if key.required else _default(key.default)
    cells = [f"`{key.name}`", _takes(key.shape), default, key.description]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _default(value: object) -> str:
    if value is None or value == [] or value == {} or isinstance(value, Section):
        return ""
    if isinstance(value, Size):
        return f"`{_size(value)}`"
    if isinstance(value, Seconds):
        return f"`{json.dumps(plain(value))}`"
    return f"`{json.dumps(value)}`"


def _size(value: int) -> str:
    for factor, suffix in ((1 << 30, "g"), (1 << 20, "m"), (1 << 10, "k")):
        if value and value % factor == 0:
            return json.dumps(f"{value // factor}{suffix}")
    return str(value)


def _takes(shape: Shape) -> str:
    match shape:
        case Scalar(kind, low, high) if low is not None:
            return f"{_WORDS[kind]} {low}–{'' if high is None else high}"
        case Scalar(kind):
            return _WORDS[kind]
        case Choice(values):
            return ", ".join(f"`{json.dumps(value)}`" for value in values)
        case Many(item):
            return f"list of: {_takes(item)}"
        case Table(value):
            return f"object of: {_takes(value)}"
        case SectionShape(struct):
            title = _title(struct)
            return f"[{title}](#{title.lower().replace(' ', '-')})"
        case Tagged(_, options):
            return " or ".join(_takes(part) for part in options.values())
        case Either(options):
            shown = [option for option in options if option != Scalar(Kind.NULL)]
            return " or ".join(_takes(option) for option in shown)


if __name__ == "__main__":
    sys.stdout.write(reference())
