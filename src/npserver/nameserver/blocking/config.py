"""The keys of an entry of `dns_block`."""

# ruff: noqa: RUF012 - msgspec copies defaults for each struct

from __future__ import annotations

from typing import Annotated

from msgspec import field

from npserver.config.section import D, OneOrMany, Section
from npserver.config.units import Seconds, Size


class DnsBlock(Section, frozen=True, kw_only=True):
    """Names that the resolvers of `dns_forward` are not asked for, and that none of their answers leads through."""

    lists: Annotated[
        OneOrMany,
        D("files or URLs of lists: hosts files, domains, rules of ad blockers (`||x^`), response policy zones"),
    ] = []
    refresh: Annotated[Seconds, D("how often lists at URLs are fetched")] = Seconds(86400)
    timeout: Annotated[Seconds, D("time limit for fetching a list")] = Seconds(60)
    max_size: Annotated[Size, D("largest list; a larger one is not used")] = Size(32 << 20)
    max_names: Annotated[int, D("largest number of names in a list", ge=1, le=20_000_000)] = 2_000_000
    allow: Annotated[
        OneOrMany, D("names that are never blocked, with all names below them; they win over all else")
    ] = []
    block: Annotated[OneOrMany, D("names that are blocked, with all names below them")] = []
    from_: Annotated[
        OneOrMany, D("client networks that this entry is for; default: all", needs="networks", empty="all clients")
    ] = field(default_factory=list, name="from")
    answer: Annotated[
        OneOrMany,
        D(
            "answer for blocked names: `nxdomain`, `nodata`, `zero` (0.0.0.0 and ::), `refused`, or the addresses of "
            "a page that says so"
        ),
    ] = "nxdomain"
    ttl: Annotated[Seconds, D("how long clients may keep such an answer, in whole seconds")] = Seconds(10)
