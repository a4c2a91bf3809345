"""JSON with comments: values, places, and what is said about text that is none."""

from __future__ import annotations

import pytest

from npserver.config.jsonc import MAX_DEPTH, JsonError, Places, parse

SAMPLE = """\
// first
{
  "listen": [ "http://:80", { "uri": "tcp://:1" }, ],  /* two
  lines */ "dns": {
    "a\\u002eb": { "A": ["10.0.0.1", "10.0.0.2"], "TTL": 60 },
  },
  "on": true, "off": false, "none": null, "number": -1.5e3
}
"""


def test_values_are_read() -> None:
    assert parse(SAMPLE).value == {
        "listen": ["http://:80", {"uri": "tcp://:1"}],
        "dns": {"a.b": {"A": ["10.0.0.1", "10.0.0.2"], "TTL": 60}},
        "on": True,
        "off": False,
        "none": None,
        "number": -1500.0,
    }


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        ((), (2, 1), (2, 1)),
        (("listen",), (3, 3), (3, 13)),
        (("listen", 0), (3, 15), (3, 15)),
        (("listen", 1), (3, 29), (3, 29)),
        (("listen", 1, "uri"), (3, 31), (3, 38)),
        (("dns",), (4, 12), (4, 19)),
        (("dns", "a.b"), (5, 5), (5, 17)),
        (("dns", "a.b", "A"), (5, 19), (5, 24)),
        (("dns", "a.b", "A", 1), (5, 37), (5, 37)),
        (("dns", "a.b", "TTL"), (5, 50), (5, 57)),
        (("number",), (7, 43), (7, 53)),
    ],
)
def test_each_key_and_value_has_its_place(
    path: tuple[str | int, ...], key: tuple[int, int], value: tuple[int, int]
) -> None:
    places = parse(SAMPLE).places
    assert places.key(path) == key
    assert places.value(path) == value


def test_the_place_of_what_is_not_there_is_that_of_the_part_around_it() -> None:
    places = parse(SAMPLE).places
    assert places.value(("listen", 1, "name")) == (3, 29)
    assert places.value(("listen", 7)) == (3, 13)
    assert places.value(("dns", "a.b", "A", 5)) == (5, 24)
    assert places.value(("tls", "cert")) == (2, 1)
    assert Places("", {}).value(("tls",)) == (0, 0)


def test_columns_count_characters() -> None:
    places = parse('{"ключ": "ä", "x": 1}').places
    assert places.value(("x",)) == (1, 20)


def test_a_byte_order_mark_is_skipped() -> None:
    assert parse('\ufeff{"a": 1}').value == {"a": 1}


def test_keys_given_twice_are_told() -> None:
    parsed = parse('{"a": true, "b": {"c": 1, "c": 1}, "a": true}')
    assert [(parsed.places.at(offset), name) for offset, name in parsed.repeated] == [((1, 27), "c"), ((1, 36), "a")]


@pytest.mark.parametrize("text", ["1", '"x"', "[]", "{}", "null", "[1,]", '{"a":1,}', "/**/ 1 //", "//\n1", "[/*]*/1]"])
def test_small_texts_are_read(text: str) -> None:
    assert parse(text).value in (1, "x", [], {}, None, [1], {"a": 1})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"\"\\\/\b\f\n\r\t"', '"\\/\b\f\n\r\t'),
        (r'"\u00e4\u20AC"', "ä€"),
        (r'"\ud83d\ude00!"', "😀!"),
        (r'"a\nb\u0041"', "a\nbA"),
        (r'"\u0000"', "\0"),
    ],
)
def test_escapes_are_decoded(text: str, value: str) -> None:
    """RFC 8259 §7."""
    assert parse(text).value == value


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("", (1, 1), "nothing in the file, expected '{'"),
        (" // x", (1, 6), "nothing in the file"),
        ("{", (1, 2), "expected '}' for the '{' at 1:1, got the end of the file"),
        ('{\n "a": [1,\n', (3, 1), "expected ']' for the '[' at 2:7, got the end of the file"),
        ('{"a": 1,', (1, 9), "expected '}' for the '{' at 1:1, got the end of the file"),
        ('{"a"', (1, 5), "expected ':' after the key 'a', got the end of the file"),
        ('{"a":', (1, 6), "expected a value, got the end of the file"),
        ('{"a": 1\n "b": 2}', (2, 2), "expected ',' or '}', got '\"b\"'"),
        ('{"a": "x"\n "b": 2}', (2, 2), "expected ',' or '}', got '\"b\"'"),
        ('{"a": 1]', (1, 8), "expected ',' or '}', got ']'"),
        ("[1}", (1, 3), "expected ',' or ']', got '}'"),
        ("[1 2]", (1, 4), "expected ',' or ']', got '2'"),
        ("{a: 1}", (1, 2), "expected a key in double quotes, got 'a'"),
        ("{'a': 1}", (1, 2), 'expected a key in double quotes, got "\'"'),
        ("{1: 1}", (1, 2), "expected a key in double quotes, got '1'"),
        ("['a']", (1, 2), "strings stand in double quotes"),
        ("{,}", (1, 2), "expected a key in double quotes, got ','"),
        ('{"a": 1,,}', (1, 9), "expected a key in double quotes, got ','"),
        ("[,]", (1, 2), "expected a value, got ','"),
        ("[1,,2]", (1, 4), "expected a value, got ','"),
        ('{"a" 1}', (1, 6), "expected ':' after the key 'a', got '1'"),
        ('{"a"=1}', (1, 5), "expected ':' after the key 'a', got '='"),
        ("[tru]", (1, 2), "expected a value, got 'tru'"),
        ("[NaN]", (1, 2), "expected a value, got 'NaN'"),
        ("[-Infinity]", (1, 2), "'-Infinity' is not a JSON number"),
        ("[01]", (1, 2), "'01' is not a JSON number"),
        ("[+1]", (1, 2), "'+1' is not a JSON number"),
        ("[.5]", (1, 2), "'.5' is not a JSON number"),
        ("[1.]", (1, 2), "'1.' is not a JSON number"),
        ("[0x10]", (1, 2), "'0x10' is not a JSON number"),
        ("[1e999]", (1, 2), "number out of range"),
        (f"[{'9' * 5000}]", (1, 2), "number of 5000 digits"),
        ("{} x", (1, 4), "expected the end of the file, got 'x'"),
        ("{}\n{}", (2, 1), "expected the end of the file, got '{'"),
        ("# x", (1, 1), "expected a value, got '#' (comments start with '//')"),
        ("{# x\n}", (1, 2), "got '#' (comments start with '//')"),
        ("{} /* x", (1, 4), "comment without its '*/'"),
        ("[1, /* x ]", (1, 5), "comment without its '*/'"),
        ("[/", (1, 2), "expected a value, got '/'"),
        ('["x', (1, 2), "string without its closing '\"'"),
        ('["x\ny"]', (1, 2), "string without its closing '\"'"),
        ('["x\\', (1, 2), "string without its closing '\"'"),
        ('["x\ty"]', (1, 4), "control character '\\t' in a string, write '\\u0009'"),
        ('["x\\q"]', (1, 4), "bad escape '\\q' in a string"),
        ('["\\n\\u12"]', (1, 5), "expected four hexadecimal digits"),
        ('["\\ud800"]', (1, 3), "half of a surrogate pair, '\\ud800'"),
        ('["\\udc00\\ud800"]', (1, 3), "half of a surrogate pair, '\\udc00'"),
        ('["\\ud800\\u0041"]', (1, 3), "half of a surrogate pair, '\\ud800'"),
        ("[" * (MAX_DEPTH + 1), (1, MAX_DEPTH + 1), f"more than {MAX_DEPTH} objects and lists inside each other"),
        ('{"a":' * 100_000, (1, MAX_DEPTH * 5 + 1), f"more than {MAX_DEPTH} objects and lists inside each other"),
    ],
)
def test_what_is_no_json_is_refused_where_it_stands(text: str, place: tuple[int, int], message: str) -> None:
    with pytest.raises(JsonError) as error:
        parse(text)
    assert message in str(error.value)
    assert Places(text, {}).at(error.value.offset) == place


def test_the_deepest_text_is_taken() -> None:
    value = parse("[" * MAX_DEPTH + "]" * MAX_DEPTH).value
    for _ in range(MAX_DEPTH - 1):
        value = value[0]
    assert value == []
