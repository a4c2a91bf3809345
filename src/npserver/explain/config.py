"""The config section `expect`: tests of the config itself."""

# ruff: noqa: RUF012 - msgspec copies defaults for each struct

from __future__ import annotations

from typing import Annotated

from msgspec import field

from npserver.config.section import D, Section


class Expectation(Section, frozen=True, kw_only=True):
    """One test: a question, and what should come of it. It needs one or more of `to`, `gets`, `rule` and `file`."""

    ask: Annotated[
        str,
        D(
            "what is asked: a URL (`https://nas.home/x`), a DNS name and type (`dns:db.example.com AAAA`), or a "
            "connection (`tcp://:443`, `ssl://`, `udp://`, `unix://`)"
        ),
    ]
    from_: Annotated[
        str | None,
        D(
            "address of the client; default: 192.0.2.1, which stands for anybody on the internet, and 127.0.0.1 at a "
            "listener on a loopback address"
        ),
    ] = field(default=None, name="from")
    method: Annotated[str, D("method of the HTTP request")] = "GET"
    headers: Annotated[dict[str, str], D("fields of the HTTP request, besides `Host`")] = {}
    sni: Annotated[
        str | None, D('server name in the TLS handshake; default: the host of the URL; `""`: the client sends none')
    ] = None
    listener: Annotated[
        str | None, D("name or URI of the listener; default: the one that the address in `ask` leads to")
    ] = None
    to: Annotated[
        str | None,
        D("where it is passed to: `upstream://nas`, the URI of the only target, or the URI of a resolver"),
    ] = None
    gets: Annotated[
        int | str | None,
        D(
            "what is answered without asking anybody: a status such as 301, the URL of a redirect, `closed` for a "
            "connection, a DNS response code such as `REFUSED`, or the data of a record such as `10.0.0.5`"
        ),
    ] = None
    rule: Annotated[str | None, D("rule that serves it: its `name`, or its place such as `dispatch[3]`")] = None
    file: Annotated[str | None, D("file that is sent, or script that is run")] = None
