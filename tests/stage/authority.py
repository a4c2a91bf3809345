"""An authority that issues client certificates and revokes them."""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from tests.stage.tls import client


class ClientAuthority:
    """A CA with its files in a directory: `ca` (its certificate), `crl` (its revocation list), clients by name."""

    def __init__(self, directory: Path, organization: str = "Staff CA", *, authority: trustme.CA | None = None) -> None:
        self._authority = authority or trustme.CA(organization_name=organization)
        self._directory = directory
        self._name = organization.replace(" ", "-")
        self._serials: dict[str, int] = {}
        self.ca = directory / f"{self._name}.ca"
        self.crl = directory / f"{self._name}.crl"
        self._authority.cert_pem.write_to_path(str(self.ca))

    def issue(self, name: str, *names: x509.GeneralName, attributes: Sequence[x509.NameAttribute[str]] = ()) -> Path:
        """Issue a client certificate with this common name, these alternative names and more attributes of the subject.

        Return its file, which contains its key as well.
        """
        ca, signing = self._signer()
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        own: x509.NameAttribute[str] = x509.NameAttribute(NameOID.COMMON_NAME, name)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([own, *attributes]))
            .issuer_name(ca.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=30))
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(signing, hashes.SHA256())
        file = self._directory / f"{self._name}.{name}.pem"
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file.write_bytes(secret + certificate.public_bytes(Encoding.PEM))
        self._serials[name] = certificate.serial_number
        return file

    def client(self, name: str, server_ca: Path | str, **settings: Any) -> ssl.SSLContext:
        """Return the context of a client with this name, issued a certificate now unless it has one."""
        context = client(server_ca, **settings)
        file = self._directory / f"{self._name}.{name}.pem"
        context.load_cert_chain(file if name in self._serials else self.issue(name))
        return context

    def revoke(self, *names: str, issued: datetime | None = None, until: datetime | None = None) -> Path:
        """Replace the revocation list by one with these clients, valid for a week unless said; return its file."""
        fresh = self.crl.with_suffix(".new")
        fresh.write_bytes(self.revocation_list(*names, issued=issued, until=until))
        os.replace(fresh, self.crl)
        return self.crl

    def revocation_list(self, *names: str, issued: datetime | None = None, until: datetime | None = None) -> bytes:
        """Return a revocation list with these clients, PEM."""
        ca, key = self._signer()
        now = datetime.now(UTC)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(ca.subject)
            .last_update(issued or now - timedelta(days=1))
            .next_update(until or now + timedelta(days=7))
            .add_extension(identifier, critical=False)
        )
        for name in names:
            one = x509.RevokedCertificateBuilder().serial_number(self._serials[name]).revocation_date(now).build()
            builder = builder.add_revoked_certificate(one)
        return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def _signer(self) -> tuple[x509.Certificate, Any]:
        key = load_pem_private_key(self._authority.private_key_pem.bytes(), None)
        return x509.load_pem_x509_certificate(self._authority.cert_pem.bytes()), key
