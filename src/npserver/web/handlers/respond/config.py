"""The keys of handler `respond`."""

from __future__ import annotations

from typing import Annotated

from npserver.config.section import D
from npserver.web.config import AnswerRule


class RespondRule(AnswerRule, tag_field="handler", tag="respond", frozen=True, kw_only=True):
    """Give a fixed answer."""

    status: Annotated[int, D("the status code", ge=200, le=599)] = 200
    body: Annotated[str, D("the body; `$variables` are filled in")] = ""
    content_type: Annotated[str, D("Content-Type header")] = "text/plain; charset=utf-8"
