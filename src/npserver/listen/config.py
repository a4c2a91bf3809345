"""The keys of one entry of `listen`."""

from __future__ import annotations

from typing import Annotated

from npserver.config.section import D, OneOrMany, Section
from npserver.tls.config import Tls


class Listen(Section, frozen=True, kw_only=True):
    """A socket that npserver listens on."""

    uri: Annotated[str, D("`http https tcp udp ssl unix unixgram`, as `http://:8080`, `unix:///tmp/app.sock`")]
    name: Annotated[str | None, D("the name that rules use; the URI serves as well")] = None
    backlog: Annotated[
        int | None, D("connections the kernel queues; default: the global `backlog`", ge=1, le=65535)
    ] = None
    tls: Annotated[Tls | list[Tls] | None, D("certificates of this listener alone; default: the global `tls`")] = None
    mode: Annotated[str | None, D('permissions of a Unix socket, octal: "0660"')] = None
    accept_proxy: Annotated[
        OneOrMany | None,
        D(
            "networks whose connections must start with a PROXY protocol header (v1 or v2); others are refused",
            needs="networks",
        ),
    ] = None
