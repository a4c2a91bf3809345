"""The keys of `cors`."""

# ruff: noqa: RUF012 - msgspec copies defaults for each struct

from __future__ import annotations

from typing import Annotated

from msgspec import field

from npserver.config.section import D, OneOrMany, Section
from npserver.config.units import Seconds


class Cors(Section, frozen=True, kw_only=True):
    """Which pages of other origins may use a rule's answers (Cross-Origin Resource Sharing)."""

    origins: Annotated[
        OneOrMany, D("origins whose pages are allowed: `https://app.example`, `https://*.example.com`, or `*` for all")
    ]
    methods: Annotated[OneOrMany, D("methods that pages may use, in preflights; `*` for all")] = field(
        default_factory=lambda: ["GET", "HEAD", "POST"]
    )
    headers: Annotated[
        OneOrMany, D("request fields that pages may set besides those that are always allowed; `*` for all")
    ] = []
    expose: Annotated[
        OneOrMany, D("response fields that scripts may read besides those that they always may; `*` for all")
    ] = []
    credentials: Annotated[
        bool, D("let pages send cookies and HTTP authentication, and read the answers; not with the origin `*`")
    ] = False
    max_age: Annotated[
        Seconds, D("how long browsers may reuse the answer to a preflight", zero="each is asked again")
    ] = Seconds(600)
