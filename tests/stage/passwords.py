"""Hashes of passwords that cost next to nothing to make and to check."""

from __future__ import annotations

import hashlib

from npserver.web.middleware.basic_auth.passwords import PasswordHash

SALT = b"0123456789abcdef"


def quick_hash(password: str) -> str:
    """Return the hash of a password, as `basic_auth` has it, with the least of scrypt's work."""
    return str(PasswordHash(4, 8, 1, SALT, hashlib.scrypt(password.encode(), salt=SALT, n=16, r=8, p=1, dklen=32)))
