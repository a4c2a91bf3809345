"""Where a handler stands in nginx's config. Pure."""

from __future__ import annotations

from msgspec import Struct

from npserver.importing.scope import Scope


class Place(Struct):
    """Where a handler stands: the prefix of its paths without a slash at the end, and PHP of the same server."""

    scope: Scope
    prefix: str = ""  # removed from the path before files are looked for; "" for an exact path
    location: str = ""  # as nginx has it
    is_exact: bool = False
    is_regex: bool = False
    php: Scope | None = None
    named: dict[str, Scope] = {}
