"""Parts of the config on the demo's page: found by name, with what their keys mean, and escaped."""

from __future__ import annotations

import html
import json
import re
from collections import defaultdict
from pathlib import Path

import pytest

from npserver.cli.tour.excerpt import Excerpts
from npserver.cli.tour.settings import make_config
from npserver.cli.tour.steps import STEPS, Step

CONFIG = make_config(defaultdict(int), Path("/demo"))


def shown(page: str) -> list[dict[str, object]]:
    """The parts as they are shown, read again."""
    texts = re.findall("<pre>(.*?)</pre>", page, re.DOTALL)
    return [json.loads(f"{{{html.unescape(re.sub('<.*?>', '', text))}}}") for text in texts]


@pytest.mark.parametrize("step", STEPS.values(), ids=lambda step: step.name)
def test_each_step_shows_what_the_config_has(step: Step) -> None:
    page = Excerpts(json.dumps(CONFIG)).html(step.parts)
    parts = shown(page)
    assert len(parts) == len(step.parts)
    for (section, _), part in zip(step.parts, parts, strict=True):
        found, whole = part[section], CONFIG[section]
        if isinstance(found, list):
            assert all(one in whole for one in found)
        else:
            assert isinstance(found, dict)
            assert found.items() <= whole.items()
    assert "<dt>" in page
    assert "any more" not in page


def test_keys_say_what_they_mean() -> None:
    page = Excerpts(json.dumps(CONFIG)).html([("upstreams", "apps"), ("dispatch", "/limited")])
    assert re.search(r'<i title="[^"]+">&quot;balance&quot;</i>: &quot;round-robin&quot;', page)
    assert re.search(r'<i title="[^"]+">&quot;interval&quot;</i>: 1', page)
    assert '<i title="what the rule does">&quot;handler&quot;</i>' in page
    assert "<dt>rate_limit</dt>" in page
    assert "<i>&quot;apps&quot;</i>" in page  # a name


def test_what_a_person_writes_is_escaped_and_may_be_wrong() -> None:
    hostile = "<script>alert(1)</script>"
    config = {"dispatch": [{"handler": hostile, "path": "/**", hostile: hostile}, 7], "tls": [hostile], "upstreams": 7}
    excerpts = Excerpts(json.dumps(config))
    page = excerpts.html([("dispatch", "/**"), ("tls", ""), ("upstreams", "apps"), ("dns", "")])
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 4
    assert page.count("any more") == 2


@pytest.mark.parametrize("text", ["", "{", "[", "{'a': 1}"])
def test_a_config_that_cannot_be_read_is_told(text: str) -> None:
    excerpts = Excerpts(text)
    assert excerpts.fault
    assert "The config has no dispatch /** any more." in excerpts.html([("dispatch", "/**")])


def test_comments_are_no_fault() -> None:
    assert shown(Excerpts('// mine\n{"dns": {"a": {}},}').html([("dns", "")])) == [{"dns": {"a": {}}}]
