"""The keys of `maintenance`."""

from __future__ import annotations

from typing import Annotated

from msgspec import field

from npserver.config.section import D, OneOrMany, Section
from npserver.config.units import Seconds


class Maintenance(Section, frozen=True, kw_only=True):
    """Answering with 503 while a site is being worked on."""

    enabled: Annotated[bool, D("answer with 503; with `file` only while it exists")] = True
    file: Annotated[
        str | None, D("file that switches maintenance on by existing; looked for twice a second; default: always on")
    ] = None
    page: Annotated[
        str | None, D("file sent as the page of the 503, at most 1 MiB; default: that of `error_pages`")
    ] = None
    except_: Annotated[OneOrMany, D("client networks that are served as usual; default: none", needs="networks")] = (
        field(default_factory=list, name="except")
    )
    retry_after: Annotated[
        Seconds, D("when clients are told to come again (`Retry-After`)", zero="they are not told")
    ] = Seconds(600)
