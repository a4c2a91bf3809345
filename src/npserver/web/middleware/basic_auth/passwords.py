"""Password hashes as the config holds them: scrypt (RFC 7914) in the PHC string format.

`$scrypt$ln=15,r=8,p=1$salt$hash`, salt and hash in base64 without padding. Pure: the salt is an argument. Written by
`npserver hash-password`, checked by `web.middleware.basic_auth.check`. One check takes some 80 ms and 32 MiB on
purpose."""

from __future__ import annotations

import binascii
import hashlib
import hmac
from base64 import b64decode, b64encode
from dataclasses import dataclass

from npserver.regex import regex

LOG_N = 15
BLOCK_SIZE = 8
PARALLELISM = 1
SALT_BYTES = 16
HASH_BYTES = 32
MAX_LOG_N = 20  # a hash that asks for more would take gigabytes

_FORMAT = regex(r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,3}),p=(\d{1,2})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})")


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """A parsed hash."""

    log_n: int
    block_size: int
    parallelism: int
    salt: bytes
    digest: bytes

    @property
    def settings(self) -> str:
        """The cost of one check."""
        return f"ln={self.log_n},r={self.block_size},p={self.parallelism}"

    @property
    def rank(self) -> int:
        """The rank of its kind by the time that a check takes, as of `basic_auth.htpasswd.StoredHash`."""
        return 100 + self.log_n

    def __str__(self) -> str:
        return f"$scrypt${self.settings}${_encode(self.salt)}${_encode(self.digest)}"

    def __repr__(self) -> str:
        return f"<PasswordHash {self.settings}>"  # without the hash

    def verify(self, password: str) -> bool:
        """Tell whether this is the password. Slow, and safe to call in a thread."""
        digest = _scrypt(password, self.salt, self.log_n, self.block_size, self.parallelism, len(self.digest))
        return hmac.compare_digest(digest, self.digest)


def hash_password(password: str, salt: bytes) -> str:
    """Give the text of a password's hash. `salt`: 16 random bytes."""
    digest = _scrypt(password, salt, LOG_N, BLOCK_SIZE, PARALLELISM, HASH_BYTES)
    return str(PasswordHash(LOG_N, BLOCK_SIZE, PARALLELISM, salt, digest))


def parse_hash(text: str) -> PasswordHash:
    """Read a hash. Raises: ValueError saying how to make one."""
    match = _FORMAT.fullmatch(text)
    if match is None:
        raise ValueError("not a password hash (not shown: it may be the password): `npserver hash-password` makes one")
    log_n, block_size, parallelism = int(match[1]), int(match[2]), int(match[3])
    if not (1 <= log_n <= MAX_LOG_N and block_size >= 1 and parallelism >= 1):
        raise ValueError(f"password hash with parameters out of range: {match[1]}, {match[2]}, {match[3]}")
    return PasswordHash(log_n, block_size, parallelism, _decode(match[4]), _decode(match[5]))


def verify_password(password: str, text: str) -> bool:
    """Tell whether `text` is the hash of `password`. Raises: ValueError if it is no hash."""
    return parse_hash(text).verify(password)


def _scrypt(password: str, salt: bytes, log_n: int, block_size: int, parallelism: int, length: int) -> bytes:
    memory = 128 * block_size * ((1 << log_n) + parallelism + 2)
    return hashlib.scrypt(
        password.encode("utf-8", "surrogatepass"),
        salt=salt, n=1 << log_n, r=block_size, p=parallelism, maxmem=memory + (1 << 20), dklen=length,
    )  # fmt: skip


def _encode(data: bytes) -> str:
    return b64encode(data).decode("ascii").rstrip("=")


def _decode(text: str) -> bytes:
    try:
        return b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(f"password hash with bad base64: {error}") from None
