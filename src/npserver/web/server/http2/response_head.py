"""The head of a response over HTTP/2 (RFC 9113 §8.3.2), composed once for all that are alike within a second.

Called by `web.server.http2.exchange`, and by `web.handlers.proxy.direct`, which answers without an exchange.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.http.http2_fields import field_list
from npserver.http.memo import SHORT_HEAD_BYTES
from npserver.web.server.http1.answer import MAX_COMPOSED

if TYPE_CHECKING:
    from npserver.http.request import Fields
    from npserver.web.server.roles import FrontRole


def compose_head(front: FrontRole, status: int, fields: bytes, length: int | None) -> Fields:
    """Return the field list of a response with these field lines.

    Args:
        front: of the listener; it keeps the lists until its Date changes.
        status: the status code.
        fields: field lines, each with its CRLF.
        length: of the body in bytes; None if it is not known. It is left out with 204 and 304.
    """
    # hot: h2-small, h2-proxy
    key = status, fields, length
    head = front.composed_heads.get(key)
    if head is None:
        head = ((b":status", b"%d" % status), *field_list(front.common_fields), *field_list(fields))
        if length is not None and status != 204 and status != 304:
            head = *head, (b"content-length", b"%d" % length)
        if len(front.composed_heads) < MAX_COMPOSED and len(fields) <= SHORT_HEAD_BYTES:
            front.composed_heads[key] = head
    return head
