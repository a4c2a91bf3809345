"""The rule of listeners that have none: serve `root`, else `./public`, else `./html`, else a welcome page."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from npserver.config.schema import AnyRule
from npserver.errors import clip
from npserver.web.design import WORD_MARK, Design
from npserver.web.handlers.respond.config import RespondRule
from npserver.web.handlers.static.config import StaticRule

if TYPE_CHECKING:
    from npserver.config.report import Report

_DIRECTORIES = ("./public", "./html")
_DESIGN = Design("body{max-width:36rem;padding-top:15vh}", is_own=True)
_PAGE = _DESIGN.page(
    "npserver is running",
    f"""{WORD_MARK}<main><h1>npserver is running</h1>
<p>There is nothing to serve yet. Put files into a directory named <code>public</code> where npserver was started,
name another one with <code>-root DIR</code>, or write rules into <code>config.json</code>.</p>
<p><code>npserver demo</code> is a tour of what the rules can do.</p></main>""",
)


def default_rule(report: Report) -> AnyRule:
    """Return the rule of a listener that has none. A `root` that is not a directory is reported."""
    document = report.document
    root = document.config.root
    if root is not None and os.path.isdir(document.resolve(root)):
        return StaticRule(root=root)
    if root is not None:
        report.error(("root",), f"'root': no directory {clip(root)}")
    for directory in _DIRECTORIES:
        if os.path.isdir(document.resolve(directory)):
            return StaticRule(root=directory)
    fields: dict[str, str | list[str] | None] = {"Content-Security-Policy": _DESIGN.policy}
    return RespondRule(body=_PAGE, content_type="text/html; charset=utf-8", response_headers=fields)
