"""Comments about what is left over."""

from __future__ import annotations

from npserver.importing.directives import Directive
from npserver.importing.draft import Draft


def test_directives_that_decide_are_losses_too() -> None:
    draft = Draft()
    directives = [Directive("f", 1, "if", ["x"], []), Directive("f", 2, "sendfile", ["on"]), Directive("f", 3, "y", [])]
    assert draft.left_over(directives) == [
        "f:1: 'if x {...}': no counterpart",
        "f:2: 'sendfile on': npserver has its own way",
        "f:3: 'y': no counterpart",
    ]
    assert draft.losses == ["f:1: 'if x {...}': no counterpart"]
    assert draft.left_over(directives) == []
