"""The keys of `max_requests`."""

from __future__ import annotations

from typing import Annotated

from npserver.config.section import D, Section


class MaxRequests(Section, frozen=True, kw_only=True):
    """Limits on the requests of a rule that are in progress at once, over all workers."""

    all: Annotated[int, D("of all clients together; further ones are answered with 503; 0: no limit", ge=0)] = 0
    per_client: Annotated[int, D("of each client; further ones are answered with 429; 0: no limit", ge=0)] = 0
    ipv6_prefix: Annotated[
        int, D("IPv6 clients whose first bits are the same count as one: how many bits", ge=1, le=128)
    ] = 64
