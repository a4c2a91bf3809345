"""What the upstream is sent of a request besides its key: names that it may take for others, and who the client is.

Called by `handler` and `compile`. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from npserver.http.caching import ADDRESSES
from npserver.http.field_names import fold
from npserver.http.forwarded import is_identity
from npserver.regex import regex
from npserver.web.variables import variable_names

if TYPE_CHECKING:
    from npserver.http.request import Request

#: The addresses in Forwarded, which differ from client to client (RFC 7239 §4). What looks otherwise stays in the key.
_HOPS = regex(rb'(?i)\b(?:for|by)=("?)[\w.:\[\]-]*\1(?=[;,]|$)')
#: What names of fields seldom have: applications may take X_Original_URL for X-Original-URL, and Accept_Encoding
#: for the Accept-Encoding of a Vary (`http.field_names`).
_UNUSUAL = regex(rb"[^\-0-9a-z]")
_IDENTITIES = ("jwt.", "tls_client_")  # variables that say who has signed in


def has_unusual_names(fields: Iterable[bytes]) -> bool:
    """Whether a field is forwarded whose name an application may take for another."""
    return _UNUSUAL.search(b"-".join(fields)) is not None and any(map(_is_unusual, fields))


def _is_unusual(name: bytes) -> bool:
    return _UNUSUAL.search(name) is not None and not is_identity(fold(name))


def tells_identity(text: str, maps: Mapping[str, str]) -> bool:
    """Whether a text has variables that say who has signed in. `maps`: what is looked up, by name of the map."""
    return any(
        name == "user" or name.startswith(_IDENTITIES) or tells_identity(maps.get(name.removeprefix("map."), ""), {})
        for name in variable_names(text)
    )


def told_by_proxy(request: Request) -> list[str]:
    """Return what the upstream is sent of a trusted proxy's fields about the client, but for addresses."""
    fields = request.fields
    found = [
        f"{name.decode()}: {value.decode('latin-1')}"
        for name, value in sorted(fields.items())
        if is_identity(name) and name not in ADDRESSES
    ]
    if b"forwarded" in fields:
        found.append(_HOPS.sub(b"", fields[b"forwarded"]).decode("latin-1"))
    return found
