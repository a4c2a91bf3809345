"""The list of middleware names every folder, and only keys that the config has: none is left out silently."""

from __future__ import annotations

from pathlib import Path

import pytest

import npserver.web.middleware
from npserver.config.schema import Config
from npserver.config.shape import section_keys
from npserver.web.config import AnswerRule, HttpRule
from npserver.web.handlers.kinds import HANDLERS
from npserver.web.middleware.order import MIDDLEWARE, MiddlewareKind

FOLDERS = {path.parent.name for path in Path(npserver.web.middleware.__path__[0]).glob("*/compile.py")}


#: Kinds besides those that are named as their folder: the same keys, at another place.
FURTHER = {"user_rate_limit": "rate_limit"}


def test_every_folder_of_middleware_stands_in_the_list_once() -> None:
    assert sorted(kind.name for kind in MIDDLEWARE) == sorted([*FOLDERS, *FURTHER])
    for kind in MIDDLEWARE:
        assert kind.compiler.partition(".")[0] == FURTHER.get(kind.name, kind.name)


@pytest.mark.parametrize("kind", MIDDLEWARE, ids=lambda kind: kind.name)
def test_middleware_names_keys_that_rules_and_the_config_have(kind: MiddlewareKind) -> None:
    if kind.handlers:
        sections = [handler.section for handler in HANDLERS if handler.name in kind.handlers]
        assert len(sections) == len(kind.handlers)
        assert all(set(kind.keys) <= {*section_keys(section)} for section in sections)
    else:
        assert set(kind.keys) <= {*section_keys(HttpRule), *section_keys(AnswerRule)}
        assert set(kind.keys) & {*section_keys(HttpRule)}, "a key that every rule has asks for it"
    assert set(kind.global_keys) <= {*section_keys(Config)}


def test_each_key_of_access_control_asks_for_its_middleware() -> None:
    by_key = {key: kind.name for kind in MIDDLEWARE for key in kind.keys}
    assert (by_key["allow"], by_key["deny"], by_key["basic_auth"]) == ("networks", "networks", "basic_auth")
