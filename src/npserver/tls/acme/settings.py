"""What an order needs to know: the CA, the account, the kind of key, and the limits."""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from npserver.regex import regex
from npserver.tls.acme.config import LETS_ENCRYPT


class KeyType(Enum):
    """The key of a certificate."""

    EC256 = "ec256"
    EC384 = "ec384"
    RSA2048 = "rsa2048"
    RSA4096 = "rsa4096"


class Limits(Struct, frozen=True):
    """Bounds of what a CA may do."""

    request_s: float = 30.0  # of one request, from the look-up of the host to the last byte of the answer
    order_s: float = 600.0  # of a whole order; a solver's waiting for DNS included
    answer_bytes: int = 256 << 10  # of one answer: a chain has some 6 KiB, a directory 1
    nonce_tries: int = 20  # requests until one is not refused for its nonce (RFC 8555 §6.5)
    poll_s: float = 0.5  # until the first look whether the CA has gone on, if it does not say; doubled each time
    poll_max_s: float = 15.0  # between looks, also if the CA says more


_BASE64URL = regex(r"[A-Za-z0-9_-]+={0,2}")  # the decoder skips all else


def is_mac_key(text: str) -> bool:
    """Whether this is the MAC key of an external account, in base64url (RFC 8555 §7.3.4)."""
    return _BASE64URL.fullmatch(text) is not None and len(text.rstrip("=")) % 4 != 1


class AcmeSettings(Struct, frozen=True):
    """A CA and our account there."""

    directory: str = LETS_ENCRYPT  # the URL of its directory (RFC 8555 §7.1.1)
    email: str = ""
    eab_key_id: str = ""  # of an external account (RFC 8555 §7.3.4), for CAs that require one
    eab_key: str = ""  # its MAC key in base64url; secret
    profile: str = ""  # draft-ietf-acme-profiles; empty: the CA's default
    key_type: KeyType = KeyType.EC256
    ca: str = ""  # PEM: who has signed the CA's own https certificate; empty: who the system trusts
    limits: Limits = Limits()

    def __repr__(self) -> str:
        return f"<AcmeSettings {self.directory} {self.key_type.value}>"  # without the MAC key
