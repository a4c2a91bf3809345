"""The registry of handlers agrees with all that lists handlers elsewhere."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import get_args

import pytest

import npserver.web.handlers
from npserver.address import HTTP, SCHEMES
from npserver.cli.tour.settings import make_config
from npserver.config.load import load_text
from npserver.config.schema import AnyRule
from npserver.config.shape import section_keys
from npserver.observe.config import AREAS
from npserver.program.kinds import KINDS, kind_of
from npserver.web.config import HttpRule, Rule
from npserver.web.handlers.kinds import HANDLERS, HandlerKind, load
from npserver.web.handlers.redirect.config import RedirectRule
from tests.stage.program import ROOT


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


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_reference_has_a_part_for_each_kind(kind: HandlerKind) -> None:
    reference = (ROOT / "docs" / "configuration.md").read_text()
    assert f"\n## Handler {kind.name}\n" in reference


def test_a_rule_finds_its_kind() -> None:
    assert kind_of(RedirectRule(to="/")).name == "redirect"


@pytest.fixture(scope="module")
def demo() -> list[Rule]:
    """The rules of the demo, which uses every handler."""
    config = make_config(defaultdict(int), Path("demo"))
    return load_text(json.dumps(config), "demo.json").config.dispatch


def test_the_demo_uses_every_handler(demo: list[Rule]) -> None:
    assert {kind_of(rule).name for rule in demo} == {kind.name for kind in KINDS}


def test_a_kind_describes_its_rules(demo: list[Rule]) -> None:
    texts = {kind_of(rule).name: kind_of(rule).describe(rule) for rule in demo}
    assert all(texts.values())
    assert len(set(texts.values())) == len(KINDS)


def test_a_kind_names_the_targets_of_its_rules(demo: list[Rule]) -> None:
    """Every key that may name an upstream holds a target."""
    for rule in demo:
        keys = [key.attribute for key in section_keys(type(rule)).values() if key.needs == "upstreams"]
        assert list(kind_of(rule).targets(rule)) == [getattr(rule, key) for key in keys], rule
