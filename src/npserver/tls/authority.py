"""Certificate authorities of our own: makes roots, signs certificates with them. No files, no clock but the caller's.

Called for `"tls": "internal"` (`tls.local_authority`) and by `npserver cert`. The cryptography package is imported when
something is signed: a start with certificates that are still good does without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING

from msgspec import Struct

from npserver.errors import clip
from npserver.idn import to_ascii
from npserver.tls.local_names import LOCAL_DOMAINS, LOCAL_NETWORKS

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

ROOT_LIFE = timedelta(days=3650)
CLOCK_SKEW = timedelta(hours=1)  # certificates begin so much earlier: the clocks of clients differ


class Authority(Struct, frozen=True):
    """A root with its key, which signs certificates of servers directly."""

    certificate: x509.Certificate
    key: EllipticCurvePrivateKey

    def __repr__(self) -> str:
        return f"<Authority {self.certificate.subject.rfc4514_string()}>"  # never the key

    @property
    def pem(self) -> bytes:
        """The root's certificate."""
        return pem(self.certificate)

    @property
    def key_pem(self) -> bytes:
        """The root's private key."""
        return key_pem(self.key)


def make_authority(name: str, not_before: datetime, not_after: datetime, *, only_local: bool) -> Authority:
    """Make a root. `only_local`: it can sign only the names of `tls.local_names` (RFC 5280 §4.2.1.10)."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP256R1())
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (usage, True),
    ]
    if only_local:
        permitted: list[x509.GeneralName] = [*map(x509.DNSName, LOCAL_DOMAINS), *map(x509.IPAddress, LOCAL_NETWORKS)]
        extensions.append((x509.NameConstraints(permitted, None), True))
    certificate = _sign(subject_name(name), private, None, (not_before, not_after), extensions)
    return Authority(certificate, private)


def load_authority(certificate: bytes, key: bytes) -> Authority:
    """Load a root from PEM. Raises: ValueError; never with a part of the key in its message."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private = serialization.load_pem_private_key(key, None)
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise ValueError("the key is not one that npserver makes")
    root = x509.load_pem_x509_certificate(certificate)
    if root.public_key() != private.public_key():
        raise ValueError("the key is not that of the certificate")
    return Authority(root, private)


def issue(
    names: Sequence[str],
    authority: Authority | None,
    not_before: datetime,
    not_after: datetime,
    *,
    common_name: str,
    for_clients: bool = False,
) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
    """Return a certificate for host names and IP addresses, and its key; without an authority it is self-signed.

    It ends with its authority at the latest. Raises: ValueError for a name that is not valid.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    private = ec.generate_private_key(ec.SECP256R1())
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, *([ExtendedKeyUsageOID.CLIENT_AUTH] if for_clients else [])]
    if authority is not None:
        not_before = max(not_before, authority.certificate.not_valid_before_utc)
        not_after = min(not_after, authority.certificate.not_valid_after_utc)
    certificate = _sign(
        subject_name(common_name),
        private,
        authority,
        (not_before, not_after),
        [
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (x509.SubjectAlternativeName([_general_name(name) for name in names]), False),
            (x509.ExtendedKeyUsage(purposes), False),
        ],
    )
    return certificate, private


def subject_name(text: str) -> x509.Name:
    """Return a subject with this common name."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def pem(certificate: x509.Certificate) -> bytes:
    """Return a certificate as PEM."""
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def key_pem(key: EllipticCurvePrivateKey) -> bytes:
    """Return a private key as PEM, not encrypted."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _sign(
    subject: x509.Name,
    private: EllipticCurvePrivateKey,
    authority: Authority | None,
    validity: tuple[datetime, datetime],
    extensions: list[tuple[x509.ExtensionType, bool]],
) -> x509.Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    signer = authority.key if authority else private
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority.certificate.subject if authority else subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(validity[0])
        .not_valid_after(validity[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    for extension, is_critical in extensions:
        builder = builder.add_extension(extension, critical=is_critical)
    return builder.sign(signer, hashes.SHA256())


def _general_name(text: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ip_address(text.strip("[]")))
    except ValueError:
        pass
    try:
        name = to_ascii(text.lower())
    except ValueError:
        name = ""
    labels = name.removeprefix("*.").removesuffix(".").split(".")
    if not all(label and label.replace("-", "").replace("_", "").isalnum() for label in labels):
        raise ValueError(f"{clip(text)} is neither a host name nor an IP address")
    return x509.DNSName(name)
