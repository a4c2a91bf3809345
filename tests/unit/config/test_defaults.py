"""Sets of keys that rules name: which value wins, and where each stands.

Covers `config.defaults` with `config.places`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from npserver.cli.check import check
from npserver.config.load import load_text
from npserver.errors import ConfigError
from npserver.process.dry_run import dry_run
from npserver.runtime.scoreboard import Directory

SETS = {
    "one": {"status": 201, "body": "one", "response_headers": {"X-A": "1", "X-B": "1"}},
    "two": {"body": "two", "allow": ["10.0.0.0/8", "127.0.0.1"]},
}


def rule(**keys: Any) -> Any:
    config = {"defaults": SETS, "dispatch": [{"handler": "respond", **keys}]}
    return load_text(json.dumps(config), "c.json").config.dispatch[0]


@pytest.mark.parametrize(
    ("keys", "status", "body", "headers", "allow"),
    [
        ({"use": "one"}, 201, "one", {"X-A": "1", "X-B": "1"}, []),
        ({"use": ["one", "two"]}, 201, "two", {"X-A": "1", "X-B": "1"}, ["10.0.0.0/8", "127.0.0.1"]),
        ({"use": ["two", "one"]}, 201, "one", {"X-A": "1", "X-B": "1"}, ["10.0.0.0/8", "127.0.0.1"]),
        ({"use": ["two"], "allow": "::1", "body": "own"}, 200, "own", {}, "::1"),
        ({"use": "one", "response_headers": {"X-C": "1"}}, 201, "one", {"X-C": "1"}, []),
        ({"use": []}, 200, "", {}, []),
        ({}, 200, "", {}, []),
    ],
)
def test_later_sets_win_and_the_rule_over_all(
    keys: dict[str, Any], status: int, body: str, headers: Any, allow: Any
) -> None:
    found = rule(**keys)
    assert (found.status, found.body, found.response_headers, found.allow) == (status, body, headers, allow)


def test_a_set_may_have_the_handler() -> None:
    config = {"defaults": {"a": {"handler": "respond", "body": "x"}}, "dispatch": [{"use": "a"}]}
    (found,) = load_text(json.dumps(config), "c.json").config.dispatch
    assert getattr(found, "body", "") == "x"


def messages(config: str) -> list[str]:
    try:
        document = load_text(config, "c.json")
        return [str(one) for one in dry_run(document, Directory()).warnings]
    except ConfigError as error:
        return [str(one) for one in error.problems]


@pytest.mark.parametrize(
    ("sets", "rules", "found"),
    [
        (
            '{"a": {\n"retries": 1}}',
            '[\n{"handler": "static", "use": "a"},\n{"handler": "redirect", "to": "/", "use": "a"}]',
            "c.json:2:1: 'retries' belongs to handler 'proxy' and 'fastcgi', not 'static' (used by the rule at",
        ),
        (
            '{"a": {\n"status": 999}}', '[\n{"handler": "respond", "use": "a"}]',
            "c.json:2:11: 'status': expected a whole number from 200 to 599, got 999 (used by the rule at c.json:3:1)",
        ),
        (
            '{"a": {\n"allow": ["10.0.0.0/8",\n"nowhere"]}}',
            '[\n{"handler": "respond", "use": "a"}, {"handler": "respond", "path": "/x", "use": "a"}]',
            "c.json:3:1: unknown network 'nowhere' (no \"networks\" are defined) (used by the rule at c.json:4:1)",
        ),
        ('{"ab": {}}', '[{"handler": "respond", "use": "abc"}]', "'defaults' has no 'abc': did you mean 'ab'?"),
        ("{}", '[{"handler": "respond", "use": ["x"]}]', "'defaults' has no 'x': there is no \"defaults\""),
        ('{"a": 5}', '[{"handler": "respond", "use": "a"}]', "'a': expected an object with keys of rules, got 5"),
        ("[]", '[{"handler": "respond"}]', "'defaults': expected an object, got a list"),
        ("{}", '[{"handler": "respond", "use": 5}]', "'use': expected a string or a list of strings, got 5"),
        ('{"a": {"use": "a"}}', '[{"handler": "respond", "use": "a"}]', "'a': a set cannot use another: name both in"),
        ('{"a": {}}', '[{"handler": "respond"}]', "c.json:1:54: warning: no rule has \"use\": 'a': name it in"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_once_at_its_place(sets: str, rules: str, found: str) -> None:
    config = f'{{"listen": ["http://127.0.0.1:0"], "defaults": {sets}, "dispatch": {rules}}}'
    said = [one for one in messages(config) if "no request can reach" not in one and "never used" not in one]
    assert len(said) == 1, said
    assert found in said[0]


def test_sets_and_rules_may_stand_in_different_files(tmp_path: Path) -> None:
    (tmp_path / "main.json").write_text(
        '{"listen": ["http://127.0.0.1:0"], "include": ["*.json"],\n"defaults": {"a": {"allow": "nowhere"}}}'
    )
    (tmp_path / "site.json").write_text('{"dispatch": [\n{"handler": "respond", "use": "a"}]}')
    with pytest.raises(ConfigError) as caught:
        check(str(tmp_path / "main.json"))
    assert str(caught.value).replace(f"{tmp_path}/", "") == (
        "main.json:2:29: unknown network 'nowhere' (no \"networks\" are defined) (used by the rule at site.json:2:1)"
    )
