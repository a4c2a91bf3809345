"""The keys of `match` and `not` in an HTTP rule."""

# ruff: noqa: RUF012 - msgspec copies defaults for each struct

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import field

from npserver.config.section import D, OneOrMany, Section

Protocol = Literal["websocket", "http/3", "http/2", "http/1.1", "http/1.0", "https", "http"]
Wanted = bool | str | list[str]


class Match(Section, frozen=True, kw_only=True):
    """Conditions on a request. All of them must hold; of several values of one condition, any."""

    method: Annotated[OneOrMany, D("methods, in upper case; GET does not include HEAD", empty="all methods")] = []
    header: Annotated[
        dict[str, Wanted],
        D("header fields by name: a value or a list of values, with `*` for any characters; true: present; false: not"),
    ] = {}
    query: Annotated[
        dict[str, Wanted], D("parameters of the query by name, percent-decoded; values as those of `header`")
    ] = {}
    cookie: Annotated[dict[str, Wanted], D("cookies by name; values as those of `header`")] = {}
    protocol: Annotated[
        Protocol | list[Protocol],
        D(
            "protocols; `https` and `http` are that of the connection, `websocket` a request for a WebSocket, over "
            "HTTP/1.1 or HTTP/2",
            empty="all protocols",
        ),
    ] = []


class NotMatch(Match, frozen=True, kw_only=True):
    """Conditions that must not hold together. `"not": [{...}, {...}]`: none of several may."""

    from_: Annotated[OneOrMany, D("client networks", needs="networks", empty="all clients")] = field(
        default_factory=list, name="from"
    )
