"""The keys of `tls`: certificates of listeners."""

# ruff: noqa: RUF012 - msgspec copies defaults for each struct

from __future__ import annotations

from typing import Annotated, Literal

from npserver.config.section import D, Section


class Tls(Section, frozen=True, kw_only=True):
    """A certificate and how TLS is spoken with it (RFC 8446)."""

    cert: Annotated[str, D("PEM file: the certificate, then its chain")]
    key: Annotated[str, D("PEM file: the certificate's private key")]
    names: Annotated[
        list[str], D("server names (SNI) that get this certificate, `*.` wildcards allowed; default: those in it")
    ] = []
    client_ca: Annotated[str | None, D("PEM file: clients must show a certificate that this CA signed")] = None
    client_auth: Annotated[Literal["require", "request"], D("whether a client without a certificate is refused")] = (
        "require"
    )
    min_version: Annotated[Literal["1.2", "1.3"], D("oldest TLS version spoken")] = "1.2"
    http2: Annotated[bool, D("offer HTTP/2 on `https` listeners (ALPN)")] = True
