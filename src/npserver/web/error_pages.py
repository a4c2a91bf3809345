"""Error pages: small, in the media type that the client prefers, and without internal details.

Used for every request that the server itself fails (`web.server.exchange_base`), and for bytes that are not a request.
"""

from __future__ import annotations

from http import HTTPStatus

from msgspec.json import encode

from npserver.http.negotiation import choose_media_type
from npserver.web.design import Design

_OFFERED = ("text/plain", "text/html", "application/json")
_DESIGN = Design(
    "body{max-width:30rem;padding:20vh 1rem 1rem;text-align:center}h1{font-size:4rem;font-weight:300;line-height:1;"
    "margin:0}p{margin:.5rem}p,small{color:var(--soft)}"
)
_NOT_STORED = "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
_FIELDS = {
    "text/plain": f"Content-Type: text/plain; charset=utf-8\r\n{_NOT_STORED}".encode(),
    "text/html": f"Content-Type: text/html; charset=utf-8\r\n{_NOT_STORED}".encode() + _DESIGN.policy_line,
    "application/json": f"Content-Type: application/json\r\n{_NOT_STORED}".encode(),
}


def phrase(status: int, default: str = "Error") -> str:
    """Return the reason phrase of a status code (RFC 9110 §15); `default` if it has none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return default


def render(status: int, accept: bytes, request_id: str) -> tuple[bytes, bytes]:
    """Return the fields and the body of the page for a status.

    Args:
        accept: the value of Accept in the request; if empty, the page is plain text.
        request_id: shown on the page, for users who report the error; empty for none.
    """
    if b"html" in accept[:64]:  # as browsers send; other values are negotiated
        media_type = "text/html"
    else:
        media_type = choose_media_type(accept, _OFFERED)
    name = phrase(status)
    if media_type == "text/html":
        note = f"<small>{request_id}</small>" if request_id else ""
        body = _DESIGN.page(f"{status} {name}", f"<main><h1>{status}</h1><p>{name}</p>{note}</main>")
    elif media_type == "application/json":
        document: dict[str, object] = {"status": status, "error": name}
        if request_id:
            document["request_id"] = request_id
        body = encode(document).decode() + "\n"
    else:
        body = f"{status} {name}\n" + (f"{request_id}\n" if request_id else "")
    return _FIELDS[media_type], body.encode()
