"""The registry of handlers agrees with all that lists handlers elsewhere."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import get_args

import pytest

import npserver.web.handlers
from npserver.address import HTTP, SCHEMES
from npserver.cli.demo import make_config
from npserver.config.schema import AnyRule
from npserver.observe.config import AREAS
from npserver.program.kinds import KINDS, kind_of
from npserver.web.config import HttpRule
from npserver.web.handlers.kinds import HANDLERS, HandlerKind, load
from npserver.web.handlers.redirect.config import RedirectRule


def test_the_configs_union_lists_the_sections_of_all_kinds() -> None:
    assert set(get_args(AnyRule)) == {kind.section for kind in KINDS}
    assert len(get_args(AnyRule)) == len(KINDS)


def test_each_folder_of_a_handler_is_registered() -> None:
    folders = {path.parent.name for path in Path(npserver.web.handlers.__path__[0]).glob("*/config.py")}
    assert folders == {kind.name for kind in HANDLERS}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_what_a_kind_says_of_itself_exists(kind: HandlerKind) -> None:
    assert kind.section.__struct_config__.tag_field == "handler"
    assert kind.log_area in AREAS
    assert kind.protocols <= frozenset().union(*[scheme.serves for scheme in SCHEMES.values()])
    assert bool(kind.handler) == issubclass(kind.section, HttpRule)
    assert bool(kind.front) == (HTTP not in kind.protocols)
    for place in filter(None, (kind.handler, kind.front)):
        assert callable(load(place))


def test_a_rule_finds_its_kind() -> None:
    assert kind_of(RedirectRule(to="/")).name == "redirect"


def test_the_demo_uses_every_handler() -> None:
    used = {rule["handler"] for rule in make_config(defaultdict(int), Path("demo"))["dispatch"]}
    assert used == {kind.name for kind in KINDS}
