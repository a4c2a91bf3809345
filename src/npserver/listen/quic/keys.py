"""Certificates and private keys in the form that the QUIC library takes, made of the files of a `LoadedCertificate`.

A certificate of each type of key is kept with its `LoadedCertificate`, until its files change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import load_pem_x509_certificates
from msgspec import Struct
from qh3 import tls
from qh3._hazmat import EcPrivateKey, Ed25519PrivateKey, RsaPrivateKey

if TYPE_CHECKING:
    from collections.abc import Container

    from npserver.tls.certificates import LoadedCertificate

_RSA = (tls.SignatureAlgorithm.RSA_PSS_RSAE_SHA256,)
_BY_CURVE = {
    256: (tls.SignatureAlgorithm.ECDSA_SECP256R1_SHA256,),
    384: (tls.SignatureAlgorithm.ECDSA_SECP384R1_SHA384,),
    521: (tls.SignatureAlgorithm.ECDSA_SECP521R1_SHA512,),
}


class QuicKey(Struct, frozen=True, eq=False):
    """A certificate, its chain and its private key."""

    certificate: Any
    chain: list[Any]
    key: Any
    algorithms: tuple[int, ...]  # signature algorithms of the key, of which a client must support one


def keys_of(loaded: LoadedCertificate) -> list[QuicKey]:
    """Return the certificates of all types of keys, in the order of preference.

    Raises: OSError, ValueError if one cannot be used for QUIC.
    """
    kept: list[QuicKey] | Exception | None = loaded.derived
    if kept is None:
        try:
            kept = [_make(*files) for files in loaded.read_chains()]
        except (OSError, ValueError) as error:
            kept = error
        loaded.derived = kept
    if isinstance(kept, Exception):
        raise kept
    return kept


def choose_key(keys: list[QuicKey], offered: Container[int]) -> QuicKey:
    """Return the first whose signatures a client can verify, else the first of all."""
    for one in keys:
        if any(algorithm in offered for algorithm in one.algorithms):
            return one
    return keys[0]


def _make(cert: bytes, key: bytes, passphrase: bytes | None) -> QuicKey:
    private = load_pem_private_key(key, passphrase)
    certificates = load_pem_x509_certificates(cert)
    if certificates[0].public_key() != private.public_key():
        raise ValueError("the private key does not belong to the certificate")
    try:
        own = tls.load_pem_private_key(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    except Exception as error:  # the library has no documented errors for it
        raise ValueError(f"this type of private key cannot be used for QUIC: {error}") from error
    chain = tls.load_pem_x509_certificates(b"".join([one.public_bytes(Encoding.PEM) for one in certificates]))
    return QuicKey(chain[0], chain[1:], own, _algorithms(own))


def _algorithms(key: Any) -> tuple[int, ...]:
    if isinstance(key, RsaPrivateKey):
        return _RSA
    if isinstance(key, EcPrivateKey):
        return _BY_CURVE[key.curve_type]
    if isinstance(key, Ed25519PrivateKey):
        return (tls.SignatureAlgorithm.ED25519,)
    raise ValueError("this type of private key cannot be used for QUIC: use ECDSA (P-256) or RSA")
