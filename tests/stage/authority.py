"""An authority that issues client certificates and revokes them."""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

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

    def issue(self, name: str) -> Path:
        """Issue a client certificate; return its file, which contains its key as well."""
        issued = self._authority.issue_cert(common_name=name, organization_name=f"{name} unit")
        file = self._directory / f"{self._name}.{name}.pem"
        file.write_bytes(issued.private_key_and_cert_chain_pem.bytes())
        self._serials[name] = x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes()).serial_number
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
        now = datetime.now(UTC)
        ca = x509.load_pem_x509_certificate(self._authority.cert_pem.bytes())
        key: Any = load_pem_private_key(self._authority.private_key_pem.bytes(), None)
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
