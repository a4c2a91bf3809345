"""The key of a certificate, the request for it (RFC 2986), and what must be true of the chain that the CA sends."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from msgspec import Struct

from npserver.errors import clip
from npserver.networks import is_ip_address
from npserver.tls.acme.problems import AcmeError
from npserver.tls.acme.schedule import certificate_id
from npserver.tls.acme.settings import KeyType

MAX_CHAIN = 10  # certificates; those of public CAs have two or three

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class IssuedCertificate(Struct, frozen=True):
    """A certificate whose chain is for this key and these names."""

    directory: str  # of the CA that issued it
    names: tuple[str, ...]
    chain: bytes  # PEM: the certificate first
    key: bytes  # PEM; secret
    not_before: float  # seconds since 1970
    not_after: float
    id: str  # by which the CA is asked about its renewal (RFC 9773 §4.1); empty if it has no authority key identifier

    def __repr__(self) -> str:
        return f"<IssuedCertificate {' '.join(self.names)} {self.id}>"  # without the key


def make_key(key_type: KeyType) -> PrivateKey:
    """Return a new private key; one of RSA takes up to some seconds."""
    if key_type is KeyType.EC256:
        return ec.generate_private_key(ec.SECP256R1())
    if key_type is KeyType.EC384:
        return ec.generate_private_key(ec.SECP384R1())
    return rsa.generate_private_key(65537, 2048 if key_type is KeyType.RSA2048 else 4096)


def make_request(key: PrivateKey, names: Sequence[str]) -> x509.CertificateSigningRequest:
    """Return the request for a certificate with these names; without a common name, of at most 64 characters."""
    general = [_general_name(name) for name in names]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=True)  # RFC 5280 §4.2.1.6
    return builder.sign(key, hashes.SHA384() if _is_p384(key) else hashes.SHA256())


def check_chain(data: bytes, key: PrivateKey, names: Sequence[str], directory: str) -> IssuedCertificate:
    """Return the certificate, if this is the chain of one for this key and exactly these names.

    A wrong clock may be ours, so that the validity is not looked at. Raises: AcmeError.
    """
    try:
        chain = x509.load_pem_x509_certificates(data)
    except ValueError:
        raise _wrong("is no chain of certificates in PEM") from None
    if len(chain) > MAX_CHAIN:
        raise _wrong(f"has a chain of {len(chain)} certificates")
    leaf = chain[0]
    if leaf.public_key() != key.public_key():
        raise _wrong("is for another key than ours")
    found, asked = _names_of(leaf), set(map(_general_name, names))
    if found != asked:
        raise _wrong(f"is for other names than were ordered: {clip(' '.join(sorted(str(one.value) for one in found)))}")
    for issued, issuer in pairwise(chain):
        try:
            issued.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature):
            raise _wrong("has a chain in which one does not sign the one before it") from None
    return IssuedCertificate(
        directory,
        tuple(names),
        b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain),  # without what else was in it
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        leaf.not_valid_before_utc.timestamp(),
        leaf.not_valid_after_utc.timestamp(),
        _id_of(leaf),
    )


def _general_name(name: str) -> x509.GeneralName:
    return x509.IPAddress(ipaddress.ip_address(name)) if is_ip_address(name) else x509.DNSName(name)


def _names_of(leaf: x509.Certificate) -> set[x509.GeneralName]:
    try:
        return set(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return set()


def _id_of(leaf: x509.Certificate) -> str:
    try:
        key_id = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return ""
    return certificate_id(key_id, leaf.serial_number) if key_id else ""


def _is_p384(key: PrivateKey) -> bool:
    return isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP384R1)


def _wrong(message: str) -> AcmeError:
    return AcmeError(f"the certificate that the CA sends {message}", kind="wrongCertificate")
