"""The keys of an entry of `networks` that comes from data."""

# ruff: noqa: RUF012 - msgspec copies defaults for each struct

from __future__ import annotations

from typing import Annotated

from msgspec import field

from npserver.config.section import D, OneOrMany, Section
from npserver.config.units import Seconds, Size


class NetworkSource(Section, frozen=True, kw_only=True):
    """Networks from a file, a URL, a database, or learnt from what clients do: `file`, `url`, `mmdb` or `learn`."""

    file: Annotated[str | None, D("text file with one network per line; used again when it has changed")] = None
    url: Annotated[str | None, D("URL of such a list; the last good one is kept in `store`")] = None
    mmdb: Annotated[
        str | None, D("database in MaxMind's format (MMDB), such as those of countries; used again when it has changed")
    ] = None
    country: Annotated[list[str], D('with `mmdb`: countries, as two letters of ISO 3166 ("DE")')] = []
    continent: Annotated[list[str], D('with `mmdb`: continents, as two letters ("EU")')] = []
    asn: Annotated[list[int], D("with `mmdb`: numbers of autonomous systems")] = []
    refresh: Annotated[Seconds, D("with `url`: how often the list is fetched")] = Seconds(86400)
    timeout: Annotated[Seconds, D("with `url`: time limit for fetching the list")] = Seconds(30)
    learn: Annotated[
        dict[str, str | int] | None,
        D(
            "events by which clients are banned, with how many it takes: 5 for 5 in 10 minutes, or a rate such as "
            "`20/1m`; the events are `login`, `scan`, `limited`, `dns`, `tls` and `proxy`"
        ),
    ] = None
    for_: Annotated[Seconds, D("with `learn`: how long a client is banned")] = field(default=Seconds(3600), name="for")
    except_: Annotated[
        OneOrMany, D("with `learn`: networks that are never banned, beside `trusted_proxies`", needs="networks")
    ] = field(default_factory=lambda: ["127.0.0.0/8", "::1"], name="except")
    doubling: Annotated[
        bool, D("with `learn`: a client that is banned again stays out twice as long each time, 30 days at most")
    ] = False
    max_bans: Annotated[
        int, D("with `learn`: largest number of bans; the oldest make room for new ones", ge=1, le=8192)
    ] = 4096
    max_size: Annotated[Size | None, D("largest list or database; default: 1 MiB, 32 MiB for `mmdb`")] = None
    max_networks: Annotated[int, D("largest number of networks in a list", ge=1, le=1_000_000)] = 100_000
