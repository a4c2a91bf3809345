"""The keys of `tls`: certificates of listeners."""

# ruff: noqa: RUF012 - msgspec copies defaults for each struct

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Struct

from npserver.config.section import D, OneOrMany, Section
from npserver.config.units import Seconds
from npserver.tls.acme.config import Acme


class Tls(Section, frozen=True, kw_only=True):
    """A certificate, and the TLS settings of the connections that use it (RFC 8446)."""

    elsewhere = {"http3": 'it is a key of the listener: { "uri": "https://:443", "http3": true }'}

    cert: Annotated[str | None, D("PEM file with the certificate, followed by its chain")] = None
    key: Annotated[str | None, D("PEM file with the certificate's private key")] = None
    key_passphrase: Annotated[
        str | None, D("file whose first line is the passphrase of `key`; default: the key is not encrypted")
    ] = None
    internal: Annotated[
        bool, D("a certificate of npserver's own local authority, made and renewed by itself, instead of `cert`")
    ] = False
    internal_life: Annotated[
        Seconds, D("life of that certificate, 10 s or more; it is renewed after two thirds of it")
    ] = Seconds(7 * 86400)
    acme: Annotated[Acme | None, D("certificates from a CA, ordered and renewed by itself, instead of `cert`")] = None
    names: Annotated[
        list[str],
        D(
            "server names (SNI) this certificate is used for, with `*.` wildcards; default: the names in it, with "
            "`internal` and `acme` the hosts of the listener's rules that no other entry has"
        ),
    ] = []
    client_ca: Annotated[
        str | None, D("PEM file with the CAs that client certificates must be signed by; default: none is asked for")
    ] = None
    client_auth: Annotated[
        Literal["require", "request"],
        D("`require` refuses clients without a certificate, `request` only asks for one; needs `client_ca`"),
    ] = "require"
    client_crl: Annotated[
        OneOrMany,
        D(
            "PEM files with the revocation lists (CRLs) of the CAs in `client_ca`; clients whose certificate is on one "
            "are refused, as are all clients of a CA without a list or with an expired one; default: none is looked at"
        ),
    ] = []
    min_version: Annotated[Literal["1.2", "1.3"], D("oldest TLS version accepted")] = "1.2"
    http2: Annotated[bool, D("offer HTTP/2 by ALPN on https listeners")] = True


class CertificateSettings(Struct, frozen=True):
    """A section whose files are found: their paths are absolute. Certificates are kept by these settings."""

    cert: str
    key: str
    client_ca: str | None = None
    client_auth: Literal["require", "request"] = "require"
    min_version: Literal["1.2", "1.3"] = "1.2"
    http2: bool = False  # offered by ALPN
    http1: bool = False  # offered by ALPN; without either, the ALPN of clients is ignored
    client_crl: tuple[str, ...] = ()
    key_passphrase: str | None = None
    #: Certificate, key and passphrase files for the same names with other types of keys, for clients that cannot use
    #: the first.
    alternatives: tuple[tuple[str, str, str | None], ...] = ()
