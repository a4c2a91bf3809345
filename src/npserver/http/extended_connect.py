"""Extended CONNECT of HTTP/2 (RFC 8441): a WebSocket's request, read as the request of HTTP/1.1 that means the same.

Rules, middleware and upstreams see a GET with an Upgrade; only the exchange knows that its answer is a 200 and that the
stream becomes the tunnel. `accept_value` is the proof of HTTP/1.1 that a server has read such a request.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha1

from npserver.errors import BadRequest, clip

WEBSOCKET = b"websocket"
KEY = b"sec-websocket-key"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3


def read_connect(
    protocol: bytes, fields: dict[bytes, bytes], lines: list[bytes], nonce: bytes, *, has_ended: bool
) -> bytes:
    """Return the value of Upgrade for the `:protocol` of a request; `fields` and `lines` get a Sec-WebSocket-Key.

    HTTP/2 does without the key (RFC 8441 §5); an upstream of HTTP/1.1 proves by it that it has read the request.

    Args:
        protocol: of the pseudo-header field `:protocol`.
        fields: values by lower-case name.
        lines: the same as field lines.
        nonce: 16 random bytes for the key.
        has_ended: the client has ended its side of the stream.

    Raises: BadRequest with the status to answer: 400 or 501.
    """
    if protocol.lower() != WEBSOCKET:
        raise BadRequest(f"protocol {clip(protocol)} is not supported", 501, rfc="RFC 9220 §3")
    if has_ended:
        raise BadRequest("a WebSocket whose stream has ended", rfc="RFC 8441 §5")
    if KEY in fields:
        lines[:] = [line for line in lines if not line.startswith(KEY + b":")]
    fields[KEY] = key = b64encode(nonce)
    lines.append(b"%b: %b" % (KEY, key))
    return WEBSOCKET


def accept_value(key: bytes) -> bytes:
    """Return the Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455 §4.2.2)."""
    return b64encode(sha1(key + _GUID, usedforsecurity=False).digest())
