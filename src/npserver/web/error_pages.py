"""Error pages: small, in the media type that the client prefers, and without internal details.

Used for every request that the server itself fails (`web.server.exchange_base`), and for bytes that are not a request.
"""

from __future__ import annotations

from http import HTTPStatus

from msgspec.json import encode

from npserver.http.negotiation import choose_media_type

_OFFERED = ("text/plain", "text/html", "application/json")
_FIELDS = {
    media_type: f"Content-Type: {media_type}{charset}\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
    .encode()
    for media_type, charset in (
        ("text/plain", "; charset=utf-8"),
        ("text/html", "; charset=utf-8"),
        ("application/json", ""),
    )
}  # fmt: skip
_HTML = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{status} {phrase}</title>
<style>:root{{color-scheme:light dark}}body{{font:1rem/1.5 system-ui,sans-serif;margin:20vh auto;max-width:30rem;\
padding:0 1rem;text-align:center}}h1{{font-size:4rem;font-weight:300;margin:0}}p{{margin:.5rem;opacity:.75}}\
small{{opacity:.5}}</style>
<h1>{status}</h1><p>{phrase}</p>{note}
</html>
"""


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
        body = _HTML.format(status=status, phrase=name, note=note)
    elif media_type == "application/json":
        document: dict[str, object] = {"status": status, "error": name}
        if request_id:
            document["request_id"] = request_id
        body = encode(document).decode() + "\n"
    else:
        body = f"{status} {name}\n" + (f"{request_id}\n" if request_id else "")
    return _FIELDS[media_type], body.encode()
