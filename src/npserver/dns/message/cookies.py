"""DNS cookies, by which a client proves that it receives what is sent to its address (RFC 7873, layout of RFC 9018 §4).

A server cookie is version (1 byte), reserved (3), time (4, seconds), hash (8). The hash is keyed BLAKE2b rather than
SipHash, therefore the version is one for private use (RFC 9018 §8): other servers cannot share the key. Clients with a
valid cookie are not rate-limited. Pure: key and time are arguments.
"""

from __future__ import annotations

from hashlib import blake2b

CLIENT_BYTES = 8
_PREFIX = b"\xf0\0\0\0"
_LIFE_S = 3600  # RFC 9018 §4.3: valid for an hour, up to five minutes in the future, replaced after half an hour
_RENEW_S = 1800
_AHEAD_S = 300


class CookieJar:
    """Makes and checks server cookies with one key, which all processes share."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    def answer(self, cookie: bytes, client: str, now: int) -> tuple[bytes, bool] | None:
        """Return the cookie option's data for the reply, and whether the query's server cookie was valid.

        None if the query's option is malformed, to be answered with FORMERR: it is 8 bytes, or 8 and a server cookie
        of 8 to 32 (RFC 7873 §5.2.2).

        Args:
            cookie: the data of the query's option.
            client: the client's address.
            now: the time of day, in seconds since 1970.
        """
        size = len(cookie)
        if size != CLIENT_BYTES and not 16 <= size <= 40:
            return None
        if size == 24 and cookie[8:12] == _PREFIX:
            made = int.from_bytes(cookie[12:16], "big")
            age = now - made
            if -_AHEAD_S <= age <= _LIFE_S and self._hash(cookie[:16], client) == cookie[16:]:
                return (cookie if age < _RENEW_S else self._make(cookie, client, now)), True
        return self._make(cookie, client, now), False

    def _make(self, cookie: bytes, client: str, now: int) -> bytes:
        head = cookie[:8] + _PREFIX + (now & 0xFFFFFFFF).to_bytes(4, "big")
        return head + self._hash(head, client)

    def _hash(self, head: bytes, client: str) -> bytes:
        return blake2b(head + client.encode(), digest_size=8, key=self._key).digest()
