"""Reading one's own certificate (RFC 5280 §4.1), compared with the cryptography package."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from npserver.tls.x509 import CertificateError, parse_der, parse_pem

EC_KEY = ec.generate_private_key(ec.SECP256R1())
KEYS: dict[str, Any] = {
    "RSA": rsa.generate_private_key(65537, 2048),
    "EC": EC_KEY,
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
}
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def certificate(
    names: list[x509.GeneralName] | None, common_name: str = "", *, kind: str = "EC", until: datetime | None = None
) -> x509.Certificate:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example")]
    if common_name:
        attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(attributes))
        .issuer_name(x509.Name(attributes))
        .public_key(KEYS[kind].public_key())
        .serial_number(2**150)
        .not_valid_before(START)
        .not_valid_after(until or START + timedelta(days=90))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    if names is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(EC_KEY, hashes.SHA256())


DNS = x509.DNSName


@pytest.mark.parametrize(
    ("names", "common_name", "found"),
    [
        ([DNS("Example.COM"), DNS("*.example.com")], "", ("example.com", "*.example.com")),
        ([DNS("a.example"), x509.RFC822Name("me@example.com"), DNS("a.example")], "other.example", ("a.example",)),
        ([x509.UniformResourceIdentifier("https://x.example/")], "c.example", ("c.example",)),
        (None, "Only.Common.Example", ("only.common.example",)),
        (None, "localhost", ("localhost",)),
        (None, "A Person", ()),
        (None, "", ()),
        ([DNS("x" * 63 + "." + "y" * 63)] * 1 + [DNS(f"n{n}.example") for n in range(200)], "", None),
    ],
)
def test_names_are_read(names: list[x509.GeneralName] | None, common_name: str, found: tuple[str, ...] | None) -> None:
    read = parse_der(certificate(names, common_name).public_bytes(Encoding.DER))
    if found is None:
        assert len(read.names) == 201
    else:
        assert read.names == found


@pytest.mark.parametrize("kind", list(KEYS))
def test_the_kind_of_key_is_read(kind: str) -> None:
    assert parse_der(certificate(None, kind=kind).public_bytes(Encoding.DER)).key_kind == kind


@pytest.mark.parametrize("until", [datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(2050, 1, 1, tzinfo=UTC)])
def test_the_validity_is_read(until: datetime) -> None:
    """RFC 5280 §4.1.2.5: from 2050 on times are written in another form."""
    read = parse_der(certificate(None, until=until).public_bytes(Encoding.DER))
    assert (read.not_before, read.not_after) == (START, until)


def test_the_first_of_a_chain_is_read(certificates: Callable[..., Any]) -> None:
    issued = certificates("www.example.com", "*.api.example.com")
    data = Path(issued.cert).read_bytes()
    other = certificate([DNS("no.example")]).public_bytes(Encoding.PEM)
    assert parse_pem(b"Bag Attributes\r\n    name: x\r\n" + data + other) == parse_pem(data)
    assert parse_pem(data).names == ("www.example.com", "*.api.example.com")
    assert parse_pem(data.replace(b"\n", b"\r\n")).names == ("www.example.com", "*.api.example.com")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nAAA\n-----END CERTIFICATE-----\n",
    ],
)
def test_what_is_no_certificate_is_refused(data: bytes) -> None:
    with pytest.raises(CertificateError):
        parse_pem(data)


def test_damaged_certificates_are_refused_or_read() -> None:
    """Any cut or changed byte gives a documented error or another certificate, never anything else."""
    good = certificate([DNS("a.example")], "a.example").public_bytes(Encoding.DER)
    dice = random.Random(7)
    mutants = [good[:end] for end in range(len(good))]
    for _ in range(3000):
        mutant = bytearray(good)
        mutant[dice.randrange(len(mutant))] = dice.randrange(256)
        mutants.append(bytes(mutant))
    refused = 0
    for mutant in mutants:
        try:
            parse_der(mutant)
        except CertificateError:
            refused += 1
    assert refused >= len(good)
