"""The keys of `bandwidth`."""

from __future__ import annotations

from typing import Annotated

from npserver.config.section import D, Section
from npserver.config.units import Size


class Bandwidth(Section, frozen=True, kw_only=True):
    """How fast the answers of a rule are sent."""

    per_answer: Annotated[Size, D("bytes per second of each answer", zero="unlimited")] = Size(0)
    per_client: Annotated[
        Size, D("bytes per second of all answers to one client together, over all workers", zero="unlimited")
    ] = Size(0)
    after: Annotated[
        Size, D("bytes at the beginning of an answer for which `per_answer` does not count", zero="none")
    ] = Size(0)
    ipv6_prefix: Annotated[
        int, D("IPv6 clients whose first bits are the same count as one: how many bits", ge=1, le=128)
    ] = 64
