"""The request for a certificate, and chains that are not used: `tls.acme.client.certificate`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from npserver.tls.acme.client.certificate import check_chain, make_key, make_request
from npserver.tls.acme.problems import AcmeError
from npserver.tls.acme.settings import KeyType

CA = "https://ca.test/dir"
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ROOT_KEY, ISSUER_KEY, KEY = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
Names = Sequence[str]


def certificate(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    signer: ec.EllipticCurvePrivateKey,
    names: Names = (),
    *,
    has_key_id: bool = True,
) -> bytes:
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(0x87654321)
        .not_valid_before(START)
        .not_valid_after(START + timedelta(days=6))
    )
    if names:
        general = [x509.IPAddress(ip_address(name)) if name[-1].isdigit() else x509.DNSName(name) for name in names]
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
    if has_key_id:
        key_id = x509.AuthorityKeyIdentifier(bytes.fromhex("69885B6B87464041E1B37B847BA0AE2CDE01C8D4"), None, None)
        builder = builder.add_extension(key_id, critical=False)
    return builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM)


NAMES = ("example.test", "*.example.test", "192.0.2.1", "2001:db8::1")
LEAF = certificate("leaf", KEY, "issuer", ISSUER_KEY, NAMES)
ISSUER = certificate("issuer", ISSUER_KEY, "root", ROOT_KEY)


def test_a_good_chain_is_taken_with_its_times_and_its_id() -> None:
    issued = check_chain(b"some text\n" + LEAF + b"\n" + ISSUER + b"more\n", KEY, NAMES, CA)
    assert issued.chain == LEAF + ISSUER
    assert issued.names == NAMES
    assert (issued.not_before, issued.not_after) == (START.timestamp(), START.timestamp() + 6 * 86_400)
    assert issued.id == "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"
    assert repr(issued) == f"<IssuedCertificate {' '.join(NAMES)} {issued.id}>"


def test_without_a_key_identifier_it_has_no_id() -> None:
    leaf = certificate("leaf", KEY, "issuer", ISSUER_KEY, ["a.test"], has_key_id=False)
    assert check_chain(leaf, KEY, ["a.test"], CA).id == ""


@pytest.mark.parametrize(
    ("chain", "names", "message"),
    [
        (b"", NAMES, "is no chain of certificates in PEM"),
        (
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            NAMES,
            "is no chain of certificates in PEM",
        ),
        (LEAF * 11, NAMES, "has a chain of 11 certificates"),
        (ISSUER + LEAF, NAMES, "is for another key than ours"),
        (certificate("leaf", ISSUER_KEY, "issuer", ISSUER_KEY, NAMES), NAMES, "is for another key than ours"),
        (LEAF + ISSUER, NAMES[:3], "is for other names than were ordered: '"),
        (LEAF + ISSUER, (*NAMES, "more.test"), "is for other names than were ordered: '"),
        (
            certificate("example.test", KEY, "issuer", ISSUER_KEY),
            ["example.test"],
            "is for other names than were ordered",
        ),
        (LEAF + certificate("issuer", ROOT_KEY, "root", ROOT_KEY), NAMES, "has a chain in which one does not sign"),
        (LEAF + ISSUER + LEAF, NAMES, "has a chain in which one does not sign"),
    ],
    ids=[
        *("empty", "damaged", "long", "upside down", "another key", "a name more", "a name less"),
        *("a common name", "another issuer", "out of order"),
    ],
)
def test_another_chain_is_refused(chain: bytes, names: Names, message: str) -> None:
    with pytest.raises(AcmeError, match=f"^the certificate that the CA sends {message}") as caught:
        check_chain(chain, KEY, names, CA)
    assert caught.value.kind == "wrongCertificate"
    assert caught.value.is_of_ca
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("key_type", [KeyType.EC256, KeyType.EC384, KeyType.RSA2048], ids=lambda one: one.value)
def test_the_request_is_signed_and_has_the_names_alone(key_type: KeyType) -> None:
    request = make_request(make_key(key_type), NAMES)
    assert request.is_signature_valid
    assert list(request.subject) == []
    (extension,) = request.extensions
    assert isinstance(extension.value, x509.SubjectAlternativeName)
    assert [str(name.value) for name in extension.value] == list(NAMES)
