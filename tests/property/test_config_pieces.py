"""A config cut into files anywhere is the same config, each value at its own place; any text is expanded or refused.

Covers `config.assemble`, `config.places` and `config.expand`.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from npserver.config.assemble import assemble
from npserver.config.expand import Expander, ExpansionError
from npserver.config.files import ConfigFiles
from npserver.config.jsonc import parse
from npserver.config.load import load, load_text
from npserver.web.variables import variable_names
from tests.stage.program import ROOT

EXAMPLES = {path.name: path.read_text() for path in sorted((ROOT / "examples").glob("*.json"))}


def cut(config: dict[str, Any], files: int, draw: Any) -> list[dict[str, Any]]:
    """Cut a config into as many parts: lists of the first level in order, objects by their keys, values as they are."""
    parts: list[dict[str, Any]] = [{} for _ in range(files)]
    for key, value in config.items():
        if isinstance(value, list):
            cuts = [0, *sorted(draw(st.integers(0, len(value))) for _ in range(files - 1)), len(value)]
            for part, start, end in zip(parts, cuts, cuts[1:], strict=False):
                if start < end:
                    part[key] = value[start:end]
        elif isinstance(value, dict):
            for name, inner in value.items():
                draw(st.sampled_from(parts)).setdefault(key, {})[name] = inner
        else:
            draw(st.sampled_from(parts))[key] = value
    return parts


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Any:
    """Yield the path of each value that is no object or list."""
    if isinstance(value, (dict, list)):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*path, name))
    else:
        yield path, value


@given(st.data())
def test_a_config_in_several_files_is_the_same(data: Any) -> None:
    text = data.draw(st.sampled_from(sorted(EXAMPLES.values())))
    config = parse(text).value
    main, *others = cut(config, data.draw(st.integers(1, 4)), data.draw)
    is_chain = data.draw(st.booleans())  # each file includes the next, or the main one includes all
    with tempfile.TemporaryDirectory() as directory:
        names = [f"{number}.json" for number in range(len(others))]
        parts = [main, *others]
        for part, name in zip(parts, names, strict=False) if is_chain else [(main, names)] if names else []:
            part["include"] = name
        for name, part in zip(["main.json", *names], parts, strict=True):
            (Path(directory) / name).write_text(json.dumps(part, indent=data.draw(st.sampled_from([None, 1]))))
        file = f"{directory}/main.json"
        assert load(file).config == load_text(text, file).config
        whole = assemble(Path(file).read_text(), file, ConfigFiles())
        texts: dict[str, list[str]] = {}
        for path, value in leaves(whole.value):
            line, column = whole.places.value(path)
            found = whole.file_of(path)
            lines = texts.setdefault(found, Path(found).read_text().splitlines())
            assert lines[line - 1][column - 1 :].startswith(json.dumps(value))


VARIABLES = {"A": "value-of-a", "B_KEY": "a-secret-$host-${A}", "EMPTY": ""}
PIECES = [
    "$",
    "{",
    "}",
    "${",
    "$${",
    ":-",
    "A",
    "B_KEY",
    "env:",
    "file:",
    "/none",
    "host",
    "${A}",
    "${B_KEY}",
    "${host}",
    " ",
]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join) | st.text(max_size=20))
def test_any_text_is_expanded_once_or_refused(text: str) -> None:
    expander = Expander(ConfigFiles(), VARIABLES)
    try:
        found = expander.text(text, ".")
    except ExpansionError as error:
        assert "a-secret" not in str(error)
        return
    assert "a-secret" not in repr(found)
    if "host" not in text:
        assert "host" not in variable_names(found), "a value has no variables of requests"
    assert expander.hide(str(found)).count("a-secret-$host") == 0
