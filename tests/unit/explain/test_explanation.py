"""Explanations as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable

from npserver.explain.explanation import Explanation

Ask = Callable[..., Explanation]


def test_the_text_and_the_json_say_the_same(ask: Ask) -> None:
    found = ask("http://nas.home/a")
    told = json.loads(found.as_json())
    assert told["rule"] == "dispatch[1]"
    assert told["gets"] == 301
    text = str(found)
    assert text.startswith("http://nas.home/a from 192.0.2.1\n  listener ")
    assert text.endswith("is answered with 301, https://nas.home/a")
    assert all(step["text"] in text for step in told["steps"])
