"""The key `public_address`, where it is an object."""

# ruff: noqa: RUF012 - msgspec copies defaults for each struct

from __future__ import annotations

from typing import Annotated

from npserver.config.section import D, OneOrMany, Section
from npserver.config.units import Seconds


class PublicAddress(Section, frozen=True, kw_only=True):
    """How npserver finds out the addresses at which clients on the internet reach this machine."""

    ask: Annotated[
        OneOrMany,
        D(
            "URL of a service that answers with the address of its caller in plain text, asked over IPv4 and over "
            "IPv6; of several, the next one is asked when one gives no address; default: none is asked",
            secret=True,  # it may have a key in its path or query
        ),
    ] = []
    interface: Annotated[
        bool, D("use the global addresses of the machine's interfaces; only what they lack is asked for")
    ] = False
    interval: Annotated[Seconds, D("time between two questions to `ask`")] = Seconds(300)
    timeout: Annotated[Seconds, D("time limit for an answer of `ask`, connecting included")] = Seconds(10)
