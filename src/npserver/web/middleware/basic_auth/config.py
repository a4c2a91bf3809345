"""The keys of `basic_auth`."""

from __future__ import annotations

from typing import Annotated

from npserver.config.section import D, Section


class BasicAuth(Section, frozen=True, kw_only=True):
    """HTTP Basic authentication (RFC 7617)."""

    users: Annotated[
        dict[str, str], D("password hashes by user name, as `npserver hash-password` prints them", secret=True)
    ] = {}  # noqa: RUF012 - msgspec copies defaults for each struct
    file: Annotated[
        str | None,
        D(
            "file of further users, as `htpasswd` makes it (bcrypt, apr1, SHA), or with hashes of ours; read again "
            "when it changes"
        ),
    ] = None
    realm: Annotated[str, D("realm that the browser shows in its dialogue")] = "npserver"
