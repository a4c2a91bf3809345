"""The keys of `cache`."""

from __future__ import annotations

from typing import Annotated

from npserver.config.section import D, Section
from npserver.config.units import Seconds, Size


class ResponseCache(Section, frozen=True, kw_only=True):
    """A cache of the upstream's responses, shared by all clients (RFC 9111)."""

    directory: Annotated[
        str | None,
        D(
            "directory of the stored responses, the server's alone, which survive restarts; default: one in memory, "
            "below `/dev/shm`; rules that name the same directory share its limits"
        ),
    ] = None
    max_size: Annotated[Size, D("bytes of all stored responses; then those unused for longest are evicted")] = Size(
        256 << 20
    )
    worker_memory: Annotated[
        Size, D("bytes of small responses that each worker keeps in its own memory too, of each directory", zero="none")
    ] = Size(32 << 20)
    max_entries: Annotated[int, D("number of stored responses; then those unused for longest are evicted", ge=10)] = (
        50_000
    )
    max_object: Annotated[
        Size | None,
        D("largest response that is stored, at most a tenth of `max_size`; default: `16m`, or a tenth if that is less"),
    ] = None
    max_variants: Annotated[
        int, D("number of responses stored for one key that differ by what their Vary names", ge=1, le=4096)
    ] = 64
    key: Annotated[
        str | None,
        D("what tells responses apart, with variables; default: scheme, Host with its port, path and query"),
    ] = None
    default_ttl: Annotated[
        Seconds,
        D("how long responses are fresh that do not say so themselves", zero="they are not stored"),
    ] = Seconds(0)
    stale: Annotated[
        Seconds,
        D(
            "how long a response that is not fresh any more is still served while it is validated, unless it says so "
            "itself (stale-while-revalidate, RFC 5861)",
            zero="not at all",
        ),
    ] = Seconds(0)
    stale_on_error: Annotated[
        Seconds,
        D(
            "how long such a response is served where the upstream fails: no answer, or 500, 502, 503 or 504; unless "
            "it says so itself (stale-if-error, RFC 5861)",
            zero="not at all",
        ),
    ] = Seconds(0)
    cookies: Annotated[
        bool, D("answer requests with cookies from the cache too: only where responses do not depend on them")
    ] = False
    wait: Annotated[
        Seconds,
        D("how long a request waits for a response that another worker is receiving, before it is passed on itself"),
    ] = Seconds(5)
