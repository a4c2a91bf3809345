"""The key `acme` of `tls`: certificates from a CA, ordered and renewed by npserver."""

# ruff: noqa: RUF012 - msgspec copies defaults for each struct

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from npserver.config.section import D, OneOrMany, Section
from npserver.config.units import Seconds
from npserver.tls.acme.on_demand.config import OnDemand

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"

ChallengeName = Literal["http", "tls-alpn", "dns"]


class DnsUpdate(Section, frozen=True, kw_only=True):
    """A name server that npserver adds the TXT records of the challenge `dns` to, and removes them from (RFC 2136)."""

    server: Annotated[
        str, D("address of the server that takes updates: `192.0.2.53`, `[2001:db8::53]`, `ns1.example.com:53`")
    ]
    zone: Annotated[OneOrMany, D("zones at that server that hold the names, such as `example.com`")]
    key_name: Annotated[str, D("name of the key that signs updates (TSIG, RFC 8945); default: that in `key_file`")] = ""
    key: Annotated[str, D("the key's secret, in base64; or write `key_file`", secret=True)] = ""
    key_file: Annotated[
        str | None,
        D("file with the secret, in base64 or as `tsig-keygen` writes it, then with the key's name and algorithm"),
    ] = None
    algorithm: Annotated[
        Literal["hmac-sha256", "hmac-sha384", "hmac-sha512"] | None,
        D("the key's algorithm; default: that in `key_file`, else hmac-sha256"),
    ] = None
    timeout: Annotated[Seconds, D("how long the server may take until it has added a record and answers it")] = Seconds(
        30
    )
    propagation: Annotated[
        Seconds,
        D("how long to wait then for the zone's other servers to have the record", zero="they are not waited for"),
    ] = Seconds(0)


class Acme(Section, frozen=True, kw_only=True):
    """Certificates from a CA that speaks ACME (RFC 8555), such as Let's Encrypt."""

    elsewhere: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("names", "name", "domains", "domain", "hosts", "host", "sans", "identifiers"),
        "the names of certificates are the hosts of the rules, or stand in 'names', beside 'acme'",
    )

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
    dns_alias: Annotated[
        str,
        D(
            "name in one of our zones where the challenge `dns` is answered for names in the DNS of others, which must "
            "have a CNAME of it as `_acme-challenge` below each name"
        ),
    ] = ""
    dns_update: Annotated[
        DnsUpdate | None,
        D("another name server, where the challenge `dns` is answered by signed updates of its zones"),
    ] = None
    key_type: Annotated[Literal["ec256", "ec384", "rsa2048", "rsa4096"], D("the certificates' private keys")] = "ec256"
    profile: Annotated[str, D("the CA's profile, such as `shortlived`; default: the CA's own default")] = ""
    eab_key_id: Annotated[str, D("key id of an external account; only CAs that require one are told")] = ""
    eab_key: Annotated[str, D("MAC key of the external account, in base64url; needs `eab_key_id`", secret=True)] = ""
    ca: Annotated[
        str | None, D("PEM file with the CA that signed the directory's own https certificate; default: the system's")
    ] = None
    on_demand: Annotated[
        OnDemand | None,
        D("certificates for further names, ordered at their first handshake; default: none"),
    ] = None

    @property
    def directories(self) -> tuple[str, ...]:
        """The URLs in `directory`."""
        return (self.directory,) if isinstance(self.directory, str) else tuple(self.directory)

    @property
    def is_public(self) -> bool:
        """Whether the CA is one that certifies no local names."""
        return self.directories == (LETS_ENCRYPT,)
