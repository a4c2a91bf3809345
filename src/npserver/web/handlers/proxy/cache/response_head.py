"""The head of a response on its way into the cache and to the clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.http import caching
from npserver.web.handlers.proxy.cache.entry import StoredHead

if TYPE_CHECKING:
    from npserver.web.handlers.proxy.cache.wanted import Wanted


def read_head(
    wanted: Wanted,
    status: int,
    fields: bytes,
    *,
    default_s: float,
    asked_s: float,
    now_s: float,
) -> tuple[StoredHead, str]:
    """Return the head to store for a response, and why it may not be stored; "" if it may.

    Args:
        wanted: what was asked for.
        status: of the response.
        fields: its field lines.
        default_s: how long it is fresh if it does not say so.
        asked_s: when the request was sent, in seconds since 1970.
        now_s: when it is received.
    """
    found = caching.read_fields(fields)
    freshness = caching.freshness_of(status, found, default_s, now_s)
    names = caching.vary_names(found) or ()
    head = StoredHead(
        wanted.key, wanted.url, b"", names, caching.vary_values(names, wanted.fields), status,
        caching.without_field(fields, b"age"), now_s, caching.received_age(found, max(now_s - asked_s, 0.0)), freshness,
        found.get(b"etag", b""), found.get(b"last-modified", b""),
    )  # fmt: skip
    return head, caching.reason_not_to_store(status, wanted.fields, found, freshness)


def shown_fields(head: StoredHead, status: bytes) -> bytes:
    """Return the field lines for a client. `status`: for Cache-Status."""
    age = b"Age: %d\r\n" % int(head.age_s) if head.age_s >= 1 else b""
    return b"%b%bCache-Status: npserver; %b\r\n" % (head.fields, age, status)
