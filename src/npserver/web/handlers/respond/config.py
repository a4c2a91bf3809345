"""The keys of handler `respond`."""

from __future__ import annotations

from typing import Annotated

from npserver.config.section import D
from npserver.web.config import AnswerRule


class RespondRule(AnswerRule, tag_field="handler", tag="respond", frozen=True, kw_only=True):
    """Answer with a fixed status, header and body."""

    status: Annotated[int, D("status of the answer", ge=200, le=599)] = 200
    body: Annotated[str, D("body of the answer, with `$variables`")] = ""
    content_type: Annotated[str, D("value of the Content-Type header")] = "text/plain; charset=utf-8"
