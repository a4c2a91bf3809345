"""Any JSON reads as the standard library reads it; anything else is a documented error with a place inside the text."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from npserver.config.jsonc import JsonError, Path, parse
from npserver.config.load import load_text
from npserver.errors import ConfigError

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",)))
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=20,
)
LAYOUTS = st.sampled_from([(None, (", ", ": ")), (None, (",", ":")), (2, None), ("\t", None)])
BLANKS = st.sampled_from(["", " ", "\n", "\t\r\n", "// a\n", '/* [{" */', "/***/", "/**/ // x\n\n"])

SAMPLE = (
    '{"listen": ["http://:80", {"name": "a", "uri": "tcp://:1"}], /* c */ "backlog": 5, // d\n'
    '"dispatch": [{"handler": "static", "root": "x\\u0041", "gzip": {"min_size": "1k"}}, '
    '{"handler": "forward", "listener": "a", "forward_to": "tcp://b:1", "timeout": 1.5}],'
    '"dns": {"a": {"A": ["1.2.3.4"]}}}'
)


def paths(value: object, path: Path = ()) -> list[Path]:
    """The paths of a value and all its parts."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *[found for key, part in parts for found in paths(part, (*path, key))]]


@given(VALUES, LAYOUTS, st.booleans())
def test_json_reads_as_the_standard_library_reads_it(value: object, layout: tuple[object, ...], escape: bool) -> None:
    indent, separators = layout
    text = json.dumps(value, indent=indent, separators=separators, ensure_ascii=escape)  # type: ignore[arg-type]
    assert parse(text).value == json.loads(text)


@given(st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4), max_leaves=10), st.data())
def test_comments_and_blanks_change_nothing(value: object, data: st.DataObject) -> None:
    def write(part: object) -> str:
        around = data.draw(BLANKS), data.draw(BLANKS)
        if not isinstance(part, list):
            return f"{around[0]}{json.dumps(part)}{around[1]}"
        comma = data.draw(st.sampled_from(["", ","])) if part else ""
        return f"{around[0]}[{','.join(map(write, part))}{comma}{data.draw(BLANKS)}]{around[1]}"

    assert parse(write(value)).value == value


@given(VALUES, LAYOUTS)
def test_every_place_is_where_the_value_stands(value: object, layout: tuple[object, ...]) -> None:
    text = json.dumps(value, indent=layout[0], separators=layout[1])  # type: ignore[arg-type]
    lines = text.split("\n")
    parsed = parse(text)
    for path in paths(value):
        part = value
        for key in path:
            part = part[key]  # type: ignore[index]
        line, column = parsed.places.value(path)
        rest = "\n".join([lines[line - 1][column - 1 :], *lines[line:]])
        assert json.JSONDecoder().raw_decode(rest)[0] == part
        if path and isinstance(path[-1], str):
            line, column = parsed.places.key(path)
            rest = "\n".join([lines[line - 1][column - 1 :], *lines[line:]])
            assert json.JSONDecoder().raw_decode(rest)[0] == path[-1]


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse(text)
    except JsonError as error:
        assert 0 <= error.offset <= len(text)


@given(
    st.integers(0, len(SAMPLE)),
    st.integers(0, 8),
    st.text(st.sampled_from('{}[]",:/*\\ \n01e.-tfnua\x00'), max_size=6),
)
def test_mutants_of_a_config_are_read_or_refused(at: int, cut: int, put: str) -> None:
    text = SAMPLE[:at] + put + SAMPLE[at + cut :]
    lines = text.count("\n") + 1
    try:
        load_text(text, "c.json")
    except ConfigError as error:
        assert error.problems
        assert all(1 <= problem.line <= lines and problem.column >= 1 for problem in error.problems)


@given(
    st.dictionaries(st.sampled_from(["listen", "tls", "dispatch", "dns", "upstreams", "limits", "gzip", "x"]), VALUES)
)
def test_any_json_is_a_config_or_refused(value: object) -> None:
    try:
        load_text(json.dumps(value), "c.json")
    except ConfigError as error:
        assert error.problems
