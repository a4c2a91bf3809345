"""Where a handler stands in nginx's config. Pure."""

from __future__ import annotations

from msgspec import Struct, field

from npserver.importing.locations import Locations
from npserver.importing.scope import Scope


class Place(Struct):
    """Where a handler stands: the prefix of its paths without a slash at the end, and the locations of its server."""

    scope: Scope
    prefix: str = ""  # removed from the path before files are looked for; "" for an exact path
    location: str = ""  # as nginx has it
    is_exact: bool = False
    regex: str = ""  # the regular expression as nginx has it
    is_final: bool = False  # regular expressions of the server, such as that of PHP, do not count
    redirects: int = 0  # to named locations, on the way here
    site: Locations = field(default_factory=Locations)
