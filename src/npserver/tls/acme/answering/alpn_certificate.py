"""The certificate that answers a TLS-ALPN-01 challenge (RFC 8737 §3); made where orders are, shown by every worker."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from npserver.networks import is_ip_address
from npserver.tls.acme.challenges import Challenge

ACME_IDENTIFIER = "1.3.6.1.5.5.7.1.31"  # id-pe-acmeIdentifier, RFC 8737 §6.1
_OCTETS_32 = b"\x04\x20"  # an OCTET STRING of 32 bytes


def make_alpn_certificate(challenge: Challenge) -> tuple[bytes, bytes]:
    """Return a certificate and its key, in PEM, for a ClientHello with `challenges.ALPN_PROTOCOL` alone.

    It is self-signed, has the name alone, and the digest of the key authorisation in a critical extension. It is valid
    always, so that no clock matters.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "npserver ACME challenge")])
    name: x509.GeneralName = x509.DNSName(challenge.name)
    if is_ip_address(challenge.name):
        name = x509.IPAddress(ipaddress.ip_address(challenge.name))
    identifier = x509.UnrecognizedExtension(x509.ObjectIdentifier(ACME_IDENTIFIER), _OCTETS_32 + challenge.digest())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2000, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(9999, 12, 31, tzinfo=UTC))
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .add_extension(identifier, critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
