"""The certificate of a TLS-ALPN-01 challenge, read by the cryptography package and by OpenSSL."""

from __future__ import annotations

import hashlib
import ssl
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from npserver.tls.acme.answering.alpn_certificate import ACME_IDENTIFIER, make_alpn_certificate
from npserver.tls.acme.challenges import Challenge, ChallengeKind, key_authorization


def challenge(name: str = "example.org") -> Challenge:
    return Challenge(ChallengeKind.TLS_ALPN_01, name, "token", key_authorization("token", bytes(32)))


@pytest.mark.parametrize("name", ["example.org", "192.0.2.7", "2001:db8::1"])
def test_the_certificate_has_one_name_and_the_digest(name: str) -> None:
    """RFC 8737 §3, RFC 8738 §6: no other name, and a critical extension with the digest as an OCTET STRING."""
    pem, key_pem = make_alpn_certificate(challenge(name))
    certificate = x509.load_pem_x509_certificate(pem)
    (found,) = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert found == (x509.DNSName(name) if name == "example.org" else x509.IPAddress(ip_address(name)))
    extension = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier(ACME_IDENTIFIER))
    digest = hashlib.sha256(challenge().http_body).digest()
    assert extension.critical
    assert isinstance(extension.value, x509.UnrecognizedExtension)
    assert extension.value.value == b"\x04\x20" + digest
    assert load_pem_private_key(key_pem, None).public_key() == certificate.public_key()
    certificate.verify_directly_issued_by(certificate)


def test_openssl_takes_the_certificate_and_its_key(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert_pem, key_pem = make_alpn_certificate(challenge())
    cert.write_bytes(cert_pem)
    key.write_bytes(key_pem)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
