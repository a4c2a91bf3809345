"""Values of variables, escaped for the place in which they stand: a URL, an HTML page, or a JSON document.

The compilers of handlers give these functions to `web.variables.compile_template`: each returns, for the name of a
variable, the function that escapes its values, or None if they are safe as they are. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

import msgspec

#: Returns the function that escapes the values of a variable; None for none.
Escape = Callable[[str], Callable[[str], str] | None]

_URL_CHARACTERS = ":/?#[]@!$&'()*+,;=-._~%"


def for_url(name: str) -> Callable[[str], str] | None:
    """Escape what a client or the issuer of its token has sent as text; all other variables are parts of URLs already.

    A decoded value is encoded as one part of a path or query. A field of the header may be a whole URL, so that only
    characters that no URL has are encoded.
    """
    if name.startswith(("cookie.", "query.", "jwt.")):
        return lambda value: quote(value, safe="")
    if name.startswith("header."):
        return lambda value: quote(value, safe=_URL_CHARACTERS)
    return None


def for_html(name: str) -> Callable[[str], str]:
    """Escape every value for text and quoted attributes."""
    from html import escape  # it imports the names of all entities, which a start without pages does not need

    return escape


def for_json(name: str) -> Callable[[str], str]:
    """Escape every value for the inside of a string."""
    return lambda value: msgspec.json.encode(value).decode()[1:-1]


def escape_for(content_type: str) -> Escape | None:
    """Return what escapes for a document of this type; None for text that takes all characters as they are."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "text/html" or media_type.endswith(("+xml", "/xml")):
        return for_html
    if media_type == "application/json" or media_type.endswith("+json"):
        return for_json
    return None
