"""The key `acme` of `tls`: certificates from a CA, ordered and renewed by npserver."""

# ruff: noqa: RUF012 - msgspec copies defaults for each struct

from __future__ import annotations

from typing import Annotated, Literal

from npserver.config.section import D, OneOrMany, Section

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"

ChallengeName = Literal["http", "tls-alpn", "dns"]


class Acme(Section, frozen=True, kw_only=True):
    """Certificates from a CA that speaks ACME (RFC 8555), such as Let's Encrypt."""

    email: Annotated[str, D("address that the CA may write to about problems; default: none")] = ""
    directory: Annotated[
        OneOrMany, D("URL of the CA's directory; of several, the next one is asked when a CA issues nothing")
    ] = LETS_ENCRYPT
    challenge: Annotated[
        list[ChallengeName],
        D(
            "how the CA finds out that a name is ours, the best first: `dns` by our own zones, `tls-alpn` at port 443, "
            "`http` at port 80; default: those that can work by the listeners and zones of the config"
        ),
    ] = []
    key_type: Annotated[Literal["ec256", "ec384", "rsa2048", "rsa4096"], D("the certificates' private keys")] = "ec256"
    profile: Annotated[str, D("the CA's profile, such as `shortlived`; default: the CA's own default")] = ""
    eab_key_id: Annotated[str, D("key id of an external account, for CAs that require one")] = ""
    eab_key: Annotated[str, D("MAC key of the external account, in base64url")] = ""
    ca: Annotated[
        str | None, D("PEM file with the CA that signed the directory's own https certificate; default: the system's")
    ] = None
