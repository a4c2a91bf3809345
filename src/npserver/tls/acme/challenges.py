"""What each kind of challenge asks for: the material that a server shows to the CA, and who provides it.

HTTP-01 and DNS-01 are RFC 8555 §8.3 and §8.4, addresses as names are RFC 8738. The certificate of TLS-ALPN-01 is made
by `tls.acme.answering.alpn_certificate`, which imports `cryptography`; this module imports nothing: every process may
use it.
"""

from __future__ import annotations

import hashlib
import ipaddress
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from msgspec import Struct

from npserver.networks import is_ip_address
from npserver.regex import regex

HTTP_PREFIX = "/.well-known/acme-challenge/"
DNS_LABEL = "_acme-challenge"
ALPN_PROTOCOL = "acme-tls/1"  # of TLS-ALPN-01 (RFC 8737 §6.2)

_TOKEN = regex(r"[A-Za-z0-9_-]{1,512}", 0)  # RFC 8555 §8.3: base64url; it becomes part of a path


class ChallengeKind(Enum):
    """How the CA finds out that a name is ours."""

    TLS_ALPN_01 = "tls-alpn-01"
    HTTP_01 = "http-01"
    DNS_01 = "dns-01"

    @property
    def key(self) -> str:
        """Its word in the key `challenge`."""
        return self.value.removesuffix("-01")


class Challenge(Struct, frozen=True):
    """One challenge of an order, with our answer. Nothing in it is secret: the CA reads all of it from us."""

    kind: ChallengeKind
    name: str  # the host name without `*.`, or the address
    token: str
    key_authorization: str

    @property
    def http_path(self) -> str:
        """The path that the CA requests at port 80."""
        return HTTP_PREFIX + self.token

    @property
    def http_body(self) -> bytes:
        """The body of the answer to it, with status 200."""
        return self.key_authorization.encode()

    @property
    def dns_name(self) -> str:
        """The name of the TXT record; where a CNAME stands there, the record belongs to its target."""
        return f"{DNS_LABEL}.{self.name}"

    @property
    def dns_value(self) -> str:
        """The text of the TXT record."""
        return urlsafe_b64encode(self.digest()).decode().rstrip("=")

    @property
    def server_name(self) -> str:
        """The server name in the CA's ClientHello; for an address its name in the reverse zone (RFC 8738 §6)."""
        return ipaddress.ip_address(self.name).reverse_pointer if is_ip_address(self.name) else self.name

    def digest(self) -> bytes:
        """Return the SHA-256 of the key authorisation."""
        return hashlib.sha256(self.key_authorization.encode()).digest()


class Solver(Protocol):
    """Shows the answers to challenges where the CA looks for them."""

    def kinds(self, name: str) -> Sequence[ChallengeKind]:
        """Return what can work for a name (`*.` in front for a wildcard), the best first."""
        ...

    async def present(self, challenge: Challenge) -> None:
        """Show an answer; return when the CA would find it at every server and worker. Raises: AcmeError."""
        ...

    def goes_to_others(self, challenge: Challenge) -> bool:
        """Whether the answer outlives this process, with others, such as another name server."""
        ...

    def hint(self, challenge: Challenge) -> str:
        """Return what to look at if the CA has not found an answer; "" if there is nothing to say."""
        ...

    async def withdraw(self, challenge: Challenge) -> None:
        """Take an answer back. It may not have been shown: `present` may have been interrupted."""
        ...

    async def take_back(self, record: str, text: str) -> None:
        """Remove a TXT record that a process which was killed has left with others, if it is there.

        `record`: the name that the CA asks for.
        """
        ...


def key_authorization(token: str, thumbprint: bytes) -> str:
    """Return the answer to a token (RFC 8555 §8.1). `thumbprint`: SHA-256 of the account's public key (RFC 7638)."""
    return f"{token}.{urlsafe_b64encode(thumbprint).decode().rstrip('=')}"


def is_token(token: object) -> bool:
    """Whether a CA's token is one: of base64url only, so that it can do no harm in a path."""
    return isinstance(token, str) and _TOKEN.fullmatch(token) is not None


def possible_kinds(name: str) -> frozenset[ChallengeKind]:
    """Return the kinds that the standards allow for a name: DNS-01 alone for wildcards, never for addresses."""
    if name.startswith("*."):
        return frozenset({ChallengeKind.DNS_01})  # RFC 8555 §7.1.3 leaves it to the CA; all public ones decide so
    if is_ip_address(name):
        return frozenset({ChallengeKind.HTTP_01, ChallengeKind.TLS_ALPN_01})  # RFC 8738 §7
    return frozenset(ChallengeKind)
