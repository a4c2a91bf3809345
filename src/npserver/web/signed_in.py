"""A request whose sender is known: the client's own, with the fields that our middleware adds for the application.

Made by middleware that signs users in. Requests are shared by all clients that send the same bytes, so the fields are
never added to the request itself. What the application trusts must be ours alone: the client's fields of the same names
are removed, in all spellings that an application may take for them (`http.field_names`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

from npserver.http.field_names import fold
from npserver.http.fields import select_significant
from npserver.http.request import HeaderBlock, Request


class SignedInRequest(Request, eq=False):
    """A request with the fields that middleware has added."""

    #: Field lines for the response, each with its CRLF, such as the Set-Cookie of an authorization server.
    response_fields: bytes = b""
    #: The claims of the token that the client has shown, by name.
    claims: Mapping[str, object] | None = None


def sign_in(
    request: Request,
    names: frozenset[bytes],
    fields: Iterable[tuple[bytes, bytes]],
    *,
    response_fields: bytes = b"",
    claims: Mapping[str, object] | None = None,
) -> SignedInRequest:
    """Return the request with fields added that are ours.

    Args:
        request: the client's.
        names: all fields that may be added, as `fold` names them: the client's are removed whether one is added or not.
        fields: names and values to add.
        response_fields: as in `SignedInRequest`; added to those that the request has already.
        claims: as in `SignedInRequest`; None: those that the request has already.
    """
    block = request.block
    if names:
        lines = [line for line in block.lines if fold(line.partition(b":")[0].lower()) not in names]
        lines += [b"%b: %b" % field for field in fields]
        significant = select_significant(lines, use_cache=False)
        block = HeaderBlock(lines, significant, block.values, block.has_cookie, own=block.own | names)
    values = {name: getattr(request, name) for name in request.__struct_fields__}
    values.update(block=block, known_fields=None, handler_cache=None)
    values["response_fields"] = values.get("response_fields", b"") + response_fields
    if claims is not None:
        values["claims"] = claims
    return SignedInRequest(**values)


def response_fields_of(request: Request) -> bytes:
    """Return the field lines that middleware has added for the response."""
    return request.response_fields if isinstance(request, SignedInRequest) else b""


def claims_of(request: Request) -> Mapping[str, object]:
    """Return the claims of the token that the client has shown; none if no token was asked for."""
    return cast("Mapping[str, object]", getattr(request, "claims", None) or {})


def claim_text(claims: Mapping[str, object], name: str) -> str:
    """Return a claim as text: a list of plain strings joined by commas, other values as JSON, "" for none.

    `name` is that of a claim, or leads into objects by dots, as that of the roles in tokens of Keycloak.
    """
    found: object = claims.get(name)
    if found is None and "." in name:
        found = claims
        for part in name.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    if found is None:
        return ""
    if isinstance(found, list) and all(isinstance(one, str) and "," not in one for one in found):
        found = ",".join(found)
    elif not isinstance(found, str):
        import json  # only where it is used: a start is shorter without

        found = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    return found.encode("utf-8", "replace").decode()  # JSON can hold halves of characters


def folded(name: str) -> str:
    """Return the one name of all spellings that an application may take for the field `name`, which is a token."""
    return fold(name.lower().encode("ascii")).decode("ascii")
