"""Private keys of zones: made, kept as PEM, and used to sign (RFC 6605, RFC 8080)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from npserver.dns.message.dnssec import ECDSA_P256, ED25519, ENTRY_POINT, ZONE_KEY, dnskey_data, key_tag
from npserver.dns.zone.zone_keys import SigningKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

#: The numbers of the algorithms, by their words in the config.
ALGORITHMS = {"ecdsap256": ECDSA_P256, "ed25519": ED25519}
_NUMBER_BYTES = 32  # of each of the two numbers of a P-256 key or signature


def make_key(algorithm: int) -> str:
    """Return a new private key as PEM."""
    from cryptography.hazmat.primitives import serialization  # few configs have signed zones
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    made = ed25519.Ed25519PrivateKey.generate() if algorithm == ED25519 else ec.generate_private_key(ec.SECP256R1())
    return made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


@lru_cache(maxsize=64)
def load_key(algorithm: int, pem: str, *, is_entry_point: bool) -> tuple[bytes, SigningKey]:
    """Return the data of the DNSKEY record of a key, and the key. Raises: ValueError, without the key."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    try:
        private = serialization.load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError):  # OpenSSL's words do not help, and must not quote a key
        raise ValueError("a private key cannot be read") from None
    if algorithm == ED25519 and isinstance(private, ed25519.Ed25519PrivateKey):
        public, sign = private.public_key().public_bytes_raw(), _eddsa(private)
    elif algorithm == ECDSA_P256 and isinstance(private, ec.EllipticCurvePrivateKey):
        numbers = private.public_key().public_numbers()
        public = numbers.x.to_bytes(_NUMBER_BYTES, "big") + numbers.y.to_bytes(_NUMBER_BYTES, "big")
        sign = _ecdsa(private)
    else:
        raise ValueError("a private key is not of its zone's algorithm")
    dnskey = dnskey_data(ZONE_KEY | (ENTRY_POINT if is_entry_point else 0), algorithm, public)
    return dnskey, SigningKey(algorithm, key_tag(dnskey), sign)


def _eddsa(private: Ed25519PrivateKey) -> Callable[[bytes], bytes]:
    return lambda data: private.sign(data)


def _ecdsa(private: EllipticCurvePrivateKey) -> Callable[[bytes], bytes]:
    """Return what signs with nonces that are derived (RFC 6979), and returns r and s in 32 bytes each (RFC 6605 §4)."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    algorithm = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)

    def sign(data: bytes) -> bytes:
        r, s = decode_dss_signature(private.sign(data, algorithm))
        return r.to_bytes(_NUMBER_BYTES, "big") + s.to_bytes(_NUMBER_BYTES, "big")

    return sign
