"""Which directive counts in blocks inside each other."""

from __future__ import annotations

from npserver.importing.directives import Directive
from npserver.importing.scope import Scope


def test_the_innermost_block_that_has_any_counts() -> None:
    outer = [Directive("f", 1, "add_header", ["A", "1"]), Directive("f", 2, "set", ["$x", "y"])]
    inner = [Directive("f", 3, "add_header", ["B", "2"])]
    scope = Scope([outer]).inner(inner)
    assert scope.words("add_header") == ["B", "2"]
    assert scope.inner([]).word("add_header") == "B"
    assert all(one.used for one in (outer[0], *inner))
    assert scope.own("set") == []
    assert scope.constants() == {"x": "y"}
