"""The keys of `basic_auth`."""

from __future__ import annotations

from typing import Annotated

from npserver.config.section import D, Section


class BasicAuth(Section, frozen=True, kw_only=True):
    """Names and passwords asked for by the browser (RFC 7617)."""

    users: Annotated[dict[str, str], D("name to password hash, as `npserver hash-password` prints it")]
    realm: Annotated[str, D("shown in the browser's dialogue")] = "npserver"
