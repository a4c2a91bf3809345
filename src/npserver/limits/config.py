"""The keys of a rate limit: an entry of `rate_limits`, or `rate_limit` of a rule."""

# ruff: noqa: RUF012 - msgspec copies defaults for each struct

from __future__ import annotations

from typing import Annotated

from npserver.config.section import D, Section


class RateLimit(Section, frozen=True, kw_only=True):
    """A limit on how often a client, or another key, may do something."""

    rate: Annotated[
        str,
        D("how many in which time, for each key: `10/s`, `5/m`, `1000/h`, or `30/10s` for 30 in 10 s; `0`: no limit"),
    ]
    burst: Annotated[
        int | None, D("how many may come at once, after a pause; default: the number in `rate`", ge=1, le=1_000_000)
    ] = None
    key: Annotated[
        str,
        D(
            "what is counted apart: text with variables, such as `$client_ip` or `$header.x-api-key`; without a "
            "variable, all are counted together; forwards have `$client_ip` only"
        ),
    ] = "$client_ip"
    ipv6_prefix: Annotated[
        int, D("IPv6 clients whose first bits are the same count as one: how many bits", ge=1, le=128)
    ] = 64
    methods: Annotated[list[str], D("HTTP methods that count; others pass; default: all", empty="all methods")] = []
    status: Annotated[int, D("status that HTTP requests over the limit are answered with", ge=400, le=599)] = 429
    dry_run: Annotated[bool, D("let all pass, only count and log what would be refused")] = False
