"""Tokens of Retry packets and of stateless resets, which every worker can verify and none has to remember.

A Retry token shows that a client receives at its address (RFC 9000 §8.1.2). Layout: time (4-byte big-endian seconds),
length of the original connection id (1 byte), the id, 16 bytes of a keyed hash over all that, the client's address and
port, and the connection id of the Retry packet.
"""

from __future__ import annotations

from hashlib import blake2b
from hmac import compare_digest

RETRY_LIFE_S = 15  # between our Retry packet and the client's answer to it
TOKEN_BYTES = 16


class QuicTokens:
    """Makes and verifies tokens with a secret that all workers share."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def retry(self, peer: tuple[str, int], original_id: bytes, own_id: bytes, now: int) -> bytes:
        """Return the token of a Retry packet. `now`: seconds."""
        head = (now & 0xFFFFFFFF).to_bytes(4, "big") + bytes((len(original_id),)) + original_id
        return head + self._hash(b"retry", head, repr(peer).encode(), own_id)

    def original_id(self, token: bytes, peer: tuple[str, int], own_id: bytes, now: int) -> bytes | None:
        """Return the original connection id of a token; None if the token is not ours for this client, or too old."""
        head, mark = token[:-TOKEN_BYTES], token[-TOKEN_BYTES:]
        if len(head) < 5 or not compare_digest(mark, self._hash(b"retry", head, repr(peer).encode(), own_id)):
            return None
        age = (now - int.from_bytes(head[:4], "big")) & 0xFFFFFFFF
        return head[5:] if age <= RETRY_LIFE_S else None

    def reset(self, connection_id: bytes) -> bytes:
        """Return the token of stateless resets for a connection id (§10.3.2)."""
        return self._hash(b"reset", connection_id)

    def _hash(self, use: bytes, *parts: bytes) -> bytes:
        made = blake2b(digest_size=TOKEN_BYTES, key=self._secret, person=use)
        for part in parts:
            made.update(len(part).to_bytes(2, "big") + part)
        return made.digest()
