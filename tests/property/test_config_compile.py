"""Compiling any config that loads gives a runtime or a documented error, nothing else."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from npserver.config.jsonc import parse
from npserver.config.jsonschema import json_schema
from npserver.config.load import load_text
from npserver.errors import ConfigError
from npserver.process.dry_run import dry_run
from npserver.runtime.scoreboard import Directory

EXAMPLES = Path(__file__).parents[2] / "examples"
SAMPLES: list[Any] = [parse(file.read_text(encoding="utf-8")).value for file in sorted(EXAMPLES.glob("*.json"))]
SCHEMA = json_schema()["$defs"]
KEYS = sorted({key for node in SCHEMA.values() for key in node.get("properties", {})})

TEXTS = st.sampled_from(
    [
        "", "/", "a", "*", "*.a", "/**", "/a/*", "/../..", "/%00", "/%zz", "$host", "$nope", "$", "=404", "404", "5xx",
        "10.0.0.0/8", "::1", "300.1.1.1", "lan", "web", "http://:80", "http://a:1/b?c", "https://a", "tcp://a:1",
        "udp://[::1]:1", "ssl://a:1", "unix:///tmp/a", "unixgram:///tmp/a", "upstream://app_pool", "upstream://none",
        "upstream://", "\n", "ä", "x" * 300, "0660", "(", "\\1", "1s", "64k", "a b", "a:b", ".", "..", "-", "@",
    ]
)  # fmt: skip
LEAVES = TEXTS | st.integers(-1, 70_000) | st.booleans() | st.none() | st.lists(TEXTS, max_size=2)
VALUES = LEAVES | st.dictionaries(st.sampled_from(KEYS) | TEXTS, LEAVES, max_size=3)


def parts(value: Any) -> list[Any]:
    """All objects and lists in a value that hold something."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    here = [value] if isinstance(value, (dict, list)) and value else []
    return here + [part for one in inner for part in parts(one)]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("empty"))


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(SAMPLES), st.data())
def test_mutants_of_the_examples_compile_or_say_why(sample: Any, data: st.DataObject) -> None:
    config = copy.deepcopy(sample)
    for _ in range(data.draw(st.integers(1, 3))):
        part = data.draw(st.sampled_from(parts(config)))
        if isinstance(part, list):
            part[data.draw(st.integers(0, len(part) - 1))] = data.draw(VALUES)
        else:
            part[data.draw(st.sampled_from([*part, *part, *KEYS]))] = data.draw(VALUES)
    try:
        document = load_text(json.dumps(config), "c.json")
        dry_run(document, Directory())
    except ConfigError as error:
        assert error.problems
        assert all(problem.line for problem in error.problems)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_rules_of_every_handler_compile_or_say_why(data: st.DataObject) -> None:
    """Rules with random values for random keys that their handler has."""
    handler = data.draw(
        st.sampled_from(["static", "proxy", "fastcgi", "forward", "dns", "redirect", "respond", "status"])
    )
    node = SCHEMA[f"{handler.capitalize()}Rule"]
    rule: dict[str, Any] = {
        "proxy": {"proxy_pass": "http://a"}, "fastcgi": {"to": "unix:///a"}, "forward": {"forward_to": "tcp://a:1"}
    }.get(handler, {})  # fmt: skip
    rule = {**rule, "handler": handler, "to": "/"} if handler == "redirect" else {**rule, "handler": handler}
    for key in data.draw(st.lists(st.sampled_from(sorted(node["properties"])), max_size=4, unique=True)):
        if key != "handler":
            rule[key] = data.draw(fitting(node["properties"][key]))
    listen = data.draw(st.sampled_from(["http://:80", "tcp://127.0.0.1:1", "udp://127.0.0.1:1", "unix:///tmp/a"]))
    config = {"listen": [listen], "dispatch": [rule], "upstreams": {"app_pool": {"targets": ["http://a:1"]}}}
    try:
        dry_run(load_text(json.dumps(config), "c.json"), Directory())
    except ConfigError as error:
        assert error.problems


def fitting(node: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that the schema of a key takes, with odd texts."""
    if "$ref" in node:
        name = node["$ref"].removeprefix("#/$defs/")
        if name in ("Size", "Seconds"):
            return st.sampled_from([0, 1, "64k" if name == "Size" else "5m", 70_000])
        inner = SCHEMA[name]
        required = {key: fitting(inner["properties"][key]) for key in inner["required"]}
        optional = {key: fitting(one) for key, one in inner["properties"].items() if key not in required}
        return st.fixed_dictionaries(required, optional=optional)
    if "anyOf" in node:
        return st.one_of([fitting(one) for one in node["anyOf"]])
    if "enum" in node:
        return st.sampled_from(node["enum"])
    if node.get("type") == "integer":
        return st.integers(node.get("minimum", -5), min(node.get("maximum", 70_000), 70_000))
    if node.get("type") == "array":
        return st.lists(fitting(node["items"]), max_size=2)
    if node.get("type") == "object":
        return st.dictionaries(TEXTS, fitting(node["additionalProperties"]), max_size=2)
    return {"boolean": st.booleans(), "null": st.none(), "string": TEXTS}[node["type"]]
