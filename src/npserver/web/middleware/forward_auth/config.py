"""The keys of `forward_auth`."""

from __future__ import annotations

from typing import Annotated

from npserver.config.section import D, Section
from npserver.config.units import Seconds, Size
from npserver.upstream.config import UpstreamTls


class ForwardAuth(Section, frozen=True, kw_only=True):
    """An authorization server that is asked about each request: Authelia, authentik, oauth2-proxy, Vouch."""

    to: Annotated[
        str,
        D(
            "authorization server: an `http`, `https` or `unix` URI without a path, or `upstream://name`",
            needs="upstreams",
        ),
    ]
    path: Annotated[str, D("path, with or without a query, that it is asked by: `/api/authz/forward-auth`")] = "/"
    copy: Annotated[
        str | list[str] | dict[str, str],
        D(
            "header fields of its answer that the application gets, by name, or by the application's name and then its "
            "own; a client's fields of these names are removed"
        ),
    ] = []  # noqa: RUF012 - msgspec copies defaults for each struct
    sign_in: Annotated[
        str | None,
        D(
            "URL or path to which a browser that it answers with 401 is redirected, with `$variables`; `$url` is the "
            "URL that the browser asked for, percent-encoded"
        ),
    ] = None
    user: Annotated[str | None, D("header field of its answer with the user's name, for the access log")] = None
    preserve_host: Annotated[bool, D("send it the Host header of the client; false: its own")] = True
    timeout: Annotated[Seconds, D("time limit for its whole answer, connecting included")] = Seconds(10)
    max_answer_size: Annotated[Size, D("largest body of its answer; a larger one counts as a failure")] = Size(64 << 10)
    tls: Annotated[UpstreamTls | None, D("TLS settings for an https server; default: the upstream's")] = None
