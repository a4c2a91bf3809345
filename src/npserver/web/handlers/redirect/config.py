"""The keys of handler `redirect`."""

from __future__ import annotations

from typing import Annotated, Literal

from npserver.config.section import D
from npserver.web.config import AnswerRule


class RedirectRule(AnswerRule, tag_field="handler", tag="redirect", frozen=True, kw_only=True):
    """Redirect the client to another URL."""

    to: Annotated[
        str | None,
        D("URL of the Location header, with `$variables`: `https://$host$path$query`; beside `moved` for other paths"),
    ] = None
    moved: Annotated[
        dict[str, str] | str | None,
        D(
            "new URLs by old path, with `$variables`; or the name of a CSV file with an old path, a new URL and, if "
            "need be, a status in each line"
        ),
    ] = None
    status: Annotated[Literal[301, 302, 303, 307, 308], D("status of the answer")] = 308
