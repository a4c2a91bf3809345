"""The keys of a store: names joined by slashes, such as `certificates/example.com/site.pem`. Pure.

A name can be that of a host, a wildcard (`*.example.com`) or an IP address. It never begins with a dot, so that a key
cannot leave the directory of a store, and names with a dot in front are free for the store's own files.
"""

from __future__ import annotations

from npserver.errors import clip
from npserver.regex import regex

MAX_KEY_CHARACTERS = 1000
MAX_NAME_CHARACTERS = 200  # file systems allow 255 bytes

_NAME = regex(r"[A-Za-z0-9_*\[:][A-Za-z0-9_*\[\]:.@+=-]*")


def split_key(key: str) -> list[str]:
    """Return the names of a key. Raises: ValueError."""
    names = key.split("/")
    if len(key) > MAX_KEY_CHARACTERS or not all(
        _NAME.fullmatch(one) and len(one) <= MAX_NAME_CHARACTERS for one in names
    ):
        raise ValueError(f"{clip(key)} cannot be the key of a stored value")
    return names


def split_prefix(prefix: str) -> list[str]:
    """Return the names of a prefix, `certificates/`; "" is the prefix of all keys. Raises: ValueError."""
    if prefix and not prefix.endswith("/"):
        raise ValueError(f"{clip(prefix)} cannot be the prefix of stored values: it must end with a slash")
    return split_key(prefix[:-1]) if prefix else []
