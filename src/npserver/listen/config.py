"""The keys of one entry of `listen`."""

from __future__ import annotations

from typing import Annotated, Literal

from npserver.config.section import D, OneOrMany, Section
from npserver.tls.config import Tls


class Listen(Section, frozen=True, kw_only=True):
    """An address that npserver accepts clients on."""

    uri: Annotated[
        str,
        D(
            "address, with scheme `http https tcp udp ssl quic unix unixgram`: `http://:8080` (IPv6 and IPv4; `[::]` "
            "is IPv6 alone, `0.0.0.0` IPv4 alone), `unix:///tmp/app.sock`; "
            "`tcp udp ssl` may have a range of ports: `udp://:49152-49172`"
        ),
    ]
    name: Annotated[str | None, D("name for the `listener` key of rules; they can use the URI too")] = None
    backlog: Annotated[
        int | None, D("length of the kernel's accept queue; default: the global `backlog`", ge=1, le=65535)
    ] = None
    tls: Annotated[
        Literal["auto", "internal"] | Tls | list[Tls] | None,
        D("certificates of this listener; default: the global `tls`"),
    ] = None
    http2: Annotated[
        bool,
        D(
            "also serve HTTP/2 without TLS (h2c) to clients that begin with it, on `http` listeners and Unix sockets; "
            "`https` listeners offer HTTP/2 by the `http2` of their `tls`"
        ),
    ] = False
    http3: Annotated[
        bool,
        D(
            "https: serve HTTP/3 too, on the UDP port of the same number; takes the package qh3",
        ),
    ] = False
    mode: Annotated[str | None, D('permissions of a Unix socket, in octal: "0660"')] = None
    accept_proxy: Annotated[
        OneOrMany | None,
        D(
            "networks of load balancers, which must send a PROXY protocol header (v1 or v2); others are refused",
            needs="networks",
        ),
    ] = None
