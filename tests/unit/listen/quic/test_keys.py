"""Certificates and keys of a listener, as HTTP/3 uses them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID
from qh3.tls import SignatureAlgorithm

from npserver.listen.quic.keys import choose_key, keys_of
from npserver.tls.certificates import LoadedCertificate
from npserver.tls.config import CertificateSettings
from npserver.tls.files import TlsFiles
from npserver.tls.ticket_keys import TicketSecrets
from tests.conftest import Certificate
from tests.stage.assigned import Assigned, config

ECDSA, RSA = SignatureAlgorithm.ECDSA_SECP256R1_SHA256, SignatureAlgorithm.RSA_PSS_RSAE_SHA256


def write(file: Path, key: Any, *, form: PrivateFormat = PrivateFormat.PKCS8, passphrase: bytes = b"") -> Path:
    """Write a self-signed certificate and its key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    plain = isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    signed = made.sign(key, None if plain else hashes.SHA256())
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    file.write_bytes(signed.public_bytes(Encoding.PEM) + key.private_bytes(Encoding.PEM, form, encryption))
    return file


def load(file: Path, **settings: Any) -> LoadedCertificate:
    return LoadedCertificate(CertificateSettings(str(file), str(file), **settings), TlsFiles(), TicketSecrets())


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()])
def test_elliptic_curves(tmp_path: Path, form: PrivateFormat, curve: ec.EllipticCurve) -> None:
    (key,) = keys_of(load(write(tmp_path / "a.pem", ec.generate_private_key(curve), form=form)))
    assert len(key.algorithms) == 1
    assert key.chain == []


def test_the_key_that_the_client_can_verify(tmp_path: Path) -> None:
    first = write(tmp_path / "a.pem", ec.generate_private_key(ec.SECP256R1()))
    second = str(
        write(tmp_path / "b.pem", rsa.generate_private_key(65537, 2048), form=PrivateFormat.TraditionalOpenSSL)
    )
    keys = keys_of(load(first, alternatives=((second, second, None),)))
    assert [choose_key(keys, offered) for offered in ((RSA,), (ECDSA, RSA), (), (1,))] == [
        keys[1], keys[0], keys[0], keys[0],
    ]  # fmt: skip


def test_an_encrypted_key(tmp_path: Path) -> None:
    file = write(tmp_path / "a.pem", ec.generate_private_key(ec.SECP256R1()), passphrase=b"secret")
    (tmp_path / "pass").write_text("secret\nmore\n")
    assert len(keys_of(load(file, key_passphrase=str(tmp_path / "pass")))) == 1


def test_a_renewed_certificate(tmp_path: Path) -> None:
    file = write(tmp_path / "a.pem", ec.generate_private_key(ec.SECP256R1()))
    loaded = load(file)
    before = keys_of(loaded)
    assert keys_of(loaded) is before
    write(tmp_path / "new.pem", rsa.generate_private_key(65537, 2048)).replace(file)
    assert loaded.refresh()
    assert keys_of(loaded)[0].algorithms == (RSA,)


def test_keys_that_http3_cannot_use(tmp_path: Path) -> None:
    file = write(tmp_path / "a.pem", ed448.Ed448PrivateKey.generate())
    listen = f'{{"uri": "https://:443", "http3": true, "tls": {{"cert": "{file}", "key": "{file}"}}}}'
    (problem,) = [one for one in Assigned(config(listen, "")).problems if "warning" not in one]
    assert problem.startswith("c.json:2:34: 'http3': ")
    assert "this type of private key cannot be used for QUIC" in problem


def test_client_certificates_cannot_be_asked_for(certificates: Callable[..., Certificate]) -> None:
    own = certificates("localhost")
    tls = f'{{"cert": "{own.cert}", "key": "{own.key}", "client_ca": "{own.ca}"}}'
    (problem,) = Assigned(config(f'{{"uri": "https://:443", "http3": true, "tls": {tls}}}', "")).problems
    assert "'http3' with 'client_ca': client certificates cannot be asked for over HTTP/3" in problem
