"""An entry of `error_pages`."""

from __future__ import annotations

from typing import Annotated

from npserver.config.section import D, Section


class ErrorPage(Section, frozen=True, kw_only=True):
    """A file that is sent as an error page."""

    file: Annotated[str, D("the file, at most 1 MiB")]
    variables: Annotated[
        bool, D("fill in `$variables` in the file, also `$status` and `$reason`; a dollar sign is then written `$$`")
    ] = False
