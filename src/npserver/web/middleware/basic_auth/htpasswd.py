"""Files of names and password hashes, one `name:hash` per line, as Apache's `htpasswd` and nginx know them. Pure.

The hashes are those that `htpasswd` makes, but for crypt(3) and plain text: bcrypt (`htpasswd -B`), apr1, which is MD5
(`-m`, its default), and SHA-1 (`-s`); and scrypt, as `npserver hash-password` prints it. Each has a `verify` that is
safe to call in a thread. bcrypt is imported when a file has such a hash.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode
from typing import Protocol

from msgspec import Struct

from npserver.regex import regex
from npserver.web.middleware.basic_auth.passwords import parse_hash

MAX_USERS = 100_000
MAX_COST = 15  # of bcrypt: 2 to the power of it rounds, some 2 s of a core
_BCRYPT_BYTES = 72  # of a password that bcrypt looks at; `htpasswd` cuts longer ones

_BCRYPT = regex(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}")
_APR1 = regex(r"\$apr1\$([./A-Za-z0-9]{1,8})\$([./A-Za-z0-9]{22})")
_SHA = regex(r"\{SHA\}([A-Za-z0-9+/]{27}=)")
_ITOA64 = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_APR1_ORDER = ((0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5))


class StoredHash(Protocol):
    """A password's hash of any kind."""

    @property
    def rank(self) -> int:
        """The rank of its kind by the time that a check takes."""

    def verify(self, password: str) -> bool:
        """Tell whether this is the password."""


class BcryptHash(Struct, frozen=True):
    """A hash of bcrypt."""

    text: bytes

    def __repr__(self) -> str:
        return "<BcryptHash>"  # without the hash

    @property
    def rank(self) -> int:
        """By kind, and by cost."""
        return 100 + int(self.text[4:6])

    def verify(self, password: str) -> bool:
        """Tell whether this is the password. Slow, by the hash's cost."""
        import bcrypt

        try:
            return bcrypt.checkpw(_encode(password)[:_BCRYPT_BYTES], self.text)
        except ValueError:
            return False  # such as one with a NUL, which no client types


class Apr1Hash(Struct, frozen=True):
    """A hash of Apache's variant of MD5-crypt: a thousand rounds."""

    salt: bytes
    digest: bytes

    def __repr__(self) -> str:
        return "<Apr1Hash>"

    @property
    def rank(self) -> int:
        """By kind, and by cost."""
        return 1

    def verify(self, password: str) -> bool:
        """Tell whether this is the password."""
        return hmac.compare_digest(apr1(_encode(password), self.salt), self.digest)


class ShaHash(Struct, frozen=True):
    """A plain SHA-1."""

    digest: bytes

    def __repr__(self) -> str:
        return "<ShaHash>"

    @property
    def rank(self) -> int:
        """By kind, and by cost."""
        return 0

    def verify(self, password: str) -> bool:
        """Tell whether this is the password."""
        return hmac.compare_digest(hashlib.sha1(_encode(password)).digest(), self.digest)


def parse_htpasswd(data: bytes) -> dict[str, StoredHash]:
    """Return the hashes by name. Empty lines and comments are skipped; the first line of a name counts, as for nginx.

    Raises: ValueError for the first line that is wrong, with its number and without its text.
    """
    users: dict[str, StoredHash] = {}
    for number, line in enumerate(data.split(b"\n"), 1):
        try:
            text = line.decode("utf-8").strip("\r \t")
            if not text or text.startswith("#"):
                continue
            name, colon, rest = text.partition(":")
            if not colon or not name:
                raise ValueError("not name:hash")
            users.setdefault(name, _parse(rest.partition(":")[0]))
            if len(users) > MAX_USERS:
                raise ValueError(f"more than {MAX_USERS} users")
        except UnicodeDecodeError:
            raise ValueError(f"line {number}: not UTF-8") from None
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
    return users


def apr1(password: bytes, salt: bytes) -> bytes:
    """Return the 22 characters of an apr1 hash, as Apache's `apr_md5_encode` makes them."""
    inner = hashlib.md5(password + salt + password).digest()
    data = password + b"$apr1$" + salt
    data += (inner * (len(password) // 16 + 1))[: len(password)]
    length = len(password)
    while length:
        data += b"\0" if length & 1 else password[:1]
        length >>= 1
    digest = hashlib.md5(data).digest()
    for turn in range(1000):
        piece = password if turn & 1 else digest
        if turn % 3:
            piece += salt
        if turn % 7:
            piece += password
        piece += digest if turn & 1 else password
        digest = hashlib.md5(piece).digest()
    found = bytearray()
    for high, middle, low in _APR1_ORDER:
        found += _base64(digest[high] << 16 | digest[middle] << 8 | digest[low], 4)
    found += _base64(digest[11], 2)
    return bytes(found)


def _base64(value: int, count: int) -> bytes:
    return bytes([_ITOA64[value >> 6 * place & 0x3F] for place in range(count)])


def _parse(text: str) -> StoredHash:
    if text.startswith("$scrypt$"):
        return parse_hash(text)
    if (match := _BCRYPT.fullmatch(text)) is not None:
        if not 4 <= int(match[1]) <= MAX_COST:
            raise ValueError(f"a bcrypt hash of cost {match[1]}; from 4 to {MAX_COST} are taken")
        return BcryptHash(text.encode())
    if (match := _APR1.fullmatch(text)) is not None:
        return Apr1Hash(match[1].encode(), match[2].encode())
    if (match := _SHA.fullmatch(text)) is not None:
        return ShaHash(b64decode(match[1]))
    raise ValueError("not a hash of bcrypt, apr1, SHA or scrypt: `htpasswd -B` makes one")


def _encode(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")
