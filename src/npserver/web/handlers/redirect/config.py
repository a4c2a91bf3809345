"""The keys of handler `redirect`."""

from __future__ import annotations

from typing import Annotated, Literal

from npserver.config.section import D
from npserver.web.config import AnswerRule


class RedirectRule(AnswerRule, tag_field="handler", tag="redirect", frozen=True, kw_only=True):
    """Redirect the client to another URL."""

    to: Annotated[str, D("URL of the Location header, with `$variables`: `https://$host$path$query`")]
    status: Annotated[Literal[301, 302, 303, 307, 308], D("status of the answer")] = 308
