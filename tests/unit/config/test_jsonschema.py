"""The JSON Schema of the config accepts what the decoder accepts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from npserver.config.jsonc import parse
from npserver.config.jsonschema import json_schema, plain
from npserver.config.load import load_text
from npserver.config.schema import Config
from npserver.errors import ConfigError

ROOT = Path(__file__).parents[3]
SCHEMA = json_schema()
TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,), "null": (type(None),),
    "array": (list,), "object": (dict,),
}  # fmt: skip


def accepts(node: dict[str, Any], value: Any) -> bool:
    """Validate by the part of JSON Schema that ours uses; anything else in it fails the test."""
    known = {
        "$ref", "description", "default", "examples", "anyOf", "oneOf", "type", "enum", "const", "minimum", "maximum",
        "pattern", "items", "properties", "required", "additionalProperties", "$schema", "title", "$defs", "not",
        "minItems", "minLength",
    }  # fmt: skip
    assert node.keys() <= known
    if "$ref" in node:
        return accepts(SCHEMA["$defs"][node["$ref"].removeprefix("#/$defs/")], value)
    if "anyOf" in node and not any(accepts(one, value) for one in node["anyOf"]):
        return False
    if "oneOf" in node and sum(accepts(one, value) for one in node["oneOf"]) != 1:
        return False
    if "not" in node and accepts(node["not"], value):
        return False
    if "const" in node and value != node["const"]:
        return False
    if "enum" in node and value not in node["enum"]:
        return False
    if "type" in node and type(value) not in TYPES[node["type"]]:
        return False
    if isinstance(value, (int, float)) and not node.get("minimum", value) <= value <= node.get("maximum", value):
        return False
    if isinstance(value, str) and "pattern" in node and not re.search(node["pattern"], value):
        return False
    if isinstance(value, (list, str)) and not value and ("minItems" in node or "minLength" in node):
        return False
    if isinstance(value, list):
        return all(accepts(node.get("items", {}), one) for one in value)
    if isinstance(value, dict):
        return accepts_object(node, value)
    return True


def accepts_object(node: dict[str, Any], value: dict[str, Any]) -> bool:
    properties, others = node.get("properties", {}), node.get("additionalProperties", {})
    if not value.keys() >= set(node.get("required", [])):
        return False
    for key, one in value.items():
        if key in properties:
            if not accepts(properties[key], one):
                return False
        elif others is False or not accepts(others, one):
            return False
    return True


@pytest.mark.parametrize("file", sorted((ROOT / "examples").glob("*.json")), ids=lambda file: file.name)
def test_the_examples_load_and_fit_the_schema(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    load_text(text, str(file))
    assert accepts(SCHEMA, parse(text).value)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"listn": []}',
        '{"backlog": 0}',
        '{"backlog": true}',
        '{"listen": [5]}',
        '{"listen": [{"name": "a"}]}',
        '{"limits": {"max_body_size": -1}}',
        '{"limits": {"max_body_size": "5 apples"}}',
        '{"timeouts": {"idle": "5 days"}}',
        '{"dispatch": [{"handler": "static", "proxy_pass": "x"}]}',
        '{"dispatch": [{"handler": "proxy"}]}',
        '{"dispatch": [{"root": "x"}]}',
        '{"upstreams": {"a": {"targets": [], "balance": "fair"}}}',
        '{"dns": {"a": "1.2.3.4"}}',
    ],
)
def test_what_the_decoder_refuses_the_schema_refuses(text: str) -> None:
    with pytest.raises(ConfigError):
        load_text(text, "c.json")
    assert not accepts(SCHEMA, parse(text).value)


def test_every_key_is_described_with_its_default() -> None:
    for name, node in SCHEMA["$defs"].items():
        for key, one in node.get("properties", {}).items():
            assert one["description"], f"{name}.{key}"
    assert SCHEMA["properties"]["backlog"] == {
        "description": "length of the kernel's accept queue, per listener and worker",
        "type": "integer",
        "minimum": 1,
        "maximum": 65535,
        "default": 2048,
    }
    assert SCHEMA["properties"]["timeouts"]["default"]["idle"] == 60


def test_the_defaults_fit_the_schema() -> None:
    defaults = plain(Config())
    assert accepts(SCHEMA, {key: plain(value) for key, value in defaults.items()})


@pytest.mark.parametrize("value", [[], "", ["office"], "office"])
def test_a_list_that_must_name_something(value: list[str] | str) -> None:
    for key in ("allow", "from"):
        assert accepts(SCHEMA, {"dispatch": [{"handler": "respond", key: value}]}) is bool(value)
