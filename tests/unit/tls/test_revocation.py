"""Revocation lists and authorities (RFC 5280 §5), compared with the cryptography package.

Covers `tls.der`.
"""

from __future__ import annotations

import base64
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from npserver.tls.der import SEQUENCE, children, only
from npserver.tls.revocation import Authority, RevocationError, RevocationList, parse_authorities, parse_lists
from tests.stage.authority import ClientAuthority

KEY = ec.generate_private_key(ec.SECP256R1())
NOW = datetime(2026, 11, 27, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def staff(tmp_path: Path) -> ClientAuthority:
    authority = ClientAuthority(tmp_path)
    authority.issue("joe")
    return authority


def make_list(
    name: x509.Name, *, until: datetime = NOW + timedelta(days=7), extensions: tuple[Any, ...] = ()
) -> x509.CertificateRevocationList:
    builder = x509.CertificateRevocationListBuilder().issuer_name(name).last_update(NOW).next_update(until)
    for one in extensions:
        builder = builder.add_extension(one, critical=False)
    return builder.sign(KEY, hashes.SHA256())


def encode(tag: int, content: bytes) -> bytes:
    """Return an element, its length in two bytes."""
    return bytes((tag, 0x82)) + len(content).to_bytes(2, "big") + content


def as_pem(der: bytes) -> bytes:
    return b"-----BEGIN X509 CRL-----\n" + base64.encodebytes(der) + b"-----END X509 CRL-----\n"


def attribute(kind: Any, text: str, form: _ASN1Type | None = None) -> x509.NameAttribute[str]:
    return x509.NameAttribute(kind, text, **({"_type": form} if form else {}))


@pytest.mark.parametrize("until", [datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(2050, 1, 1, tzinfo=UTC)])
@pytest.mark.parametrize("revoked", [(), ("joe",)])
def test_a_list_is_read(staff: ClientAuthority, until: datetime, revoked: tuple[str, ...]) -> None:
    issued = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    (found,) = parse_lists(staff.revocation_list(*revoked, issued=issued, until=until))
    assert (found.issued, found.next_update) == (issued, until)
    (authority,) = parse_authorities(staff.ca.read_bytes())
    assert found.issuer == authority.name == authority.issuer
    assert found.issuer.startswith("O=Staff CA,OU=Testing CA #")
    assert len(found.key_id) == 20 and found.key_id == authority.key_id
    assert authority.is_issuer_of(found)


def test_all_lists_of_a_file_are_read(staff: ClientAuthority, tmp_path: Path) -> None:
    other = ClientAuthority(tmp_path, "Partner CA")
    data = b"comment\r\n" + staff.revocation_list("joe").replace(b"\n", b"\r\n") + other.revocation_list()
    assert [one.issuer.split(",")[0] for one in parse_lists(data)] == ["O=Staff CA", "O=Partner CA"]


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        ([attribute(NameOID.COUNTRY_NAME, "DE"), attribute(NameOID.COMMON_NAME, "Büro CA")], "C=DE,CN=Büro CA"),
        ([attribute(NameOID.COMMON_NAME, "Büro  CA", _ASN1Type.BMPString)], "CN=Büro CA"),
        ([attribute(NameOID.DOMAIN_COMPONENT, "corp"), attribute(NameOID.STREET_ADDRESS, "x")], "DC=corp,550409=x"),
    ],
)
def test_the_issuer_is_written_as_text(attributes: list[x509.NameAttribute[str]], text: str) -> None:
    (found,) = parse_lists(make_list(x509.Name(attributes)).public_bytes(Encoding.PEM))
    assert (found.issuer, found.key_id) == (text, b"")
    assert Authority(text.upper(), "", b"any").is_issuer_of(found), "neither case nor spaces decide"


def test_another_key_of_the_same_name_is_another_authority(staff: ClientAuthority) -> None:
    (found,) = parse_lists(staff.revocation_list())
    assert not Authority(found.issuer, "", b"another").is_issuer_of(found)
    assert not Authority("CN=another", "", found.key_id).is_issuer_of(found)


@pytest.mark.parametrize(("days", "hours_before"), [(0.5, 3), (4, 24), (8, 48), (400, 48)])
def test_the_notice_comes_when_a_quarter_is_left_and_two_days_at_most(days: float, hours_before: int) -> None:
    end = NOW + timedelta(days=days)
    assert RevocationList("", b"", NOW, end).notice_at == end - timedelta(hours=hours_before)


def test_a_list_may_have_no_next_update(staff: ClientAuthority) -> None:
    """RFC 5280 §5.1.2.5 demands one, X.509 does not: the time is cut out of a list by hand."""
    der = x509.load_pem_x509_crl(staff.revocation_list("joe")).public_bytes(Encoding.DER)
    (_, body), *signature = children(only(der, SEQUENCE))
    fields = children(body)
    del fields[4]
    body = b"".join([encode(*field) for field in fields])
    pem = as_pem(encode(SEQUENCE, b"".join([encode(*one) for one in [(SEQUENCE, body), *signature]])))
    (found,) = parse_lists(pem)
    assert (found.next_update, found.notice_at) == (None, None)
    assert len(found.key_id) == 20


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no PEM revocation list (-----BEGIN X509 CRL-----) in it"),
        (
            b"0\x82\x01",
            "no PEM revocation list (-----BEGIN X509 CRL-----) in it; convert it with openssl crl -inform DER",
        ),
        (b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", "damaged revocation list: "),
        (b"-----BEGIN X509 CRL-----\nAAA\n-----END X509 CRL-----\n", "damaged revocation list: "),
    ],
)
def test_what_is_no_list_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(RevocationError) as raised:
        parse_lists(data, "/etc/x.crl")
    assert str(raised.value).startswith(message)
    assert raised.value.file == "/etc/x.crl"


@pytest.mark.parametrize("kind", [b"CERTIFICATE", b"TRUSTED CERTIFICATE", b"X509 CERTIFICATE"])
def test_a_file_with_a_certificate_is_refused(staff: ClientAuthority, kind: bytes) -> None:
    """OpenSSL would trust it as an authority."""
    certificate = trustme.CA().cert_pem.bytes().replace(b"CERTIFICATE", kind)
    with pytest.raises(RevocationError, match="there is a certificate in it, which belongs to client_ca"):
        parse_lists(staff.revocation_list() + certificate)


def test_damaged_lists_are_refused_or_read(staff: ClientAuthority) -> None:
    """Any changed byte gives a documented error or another list, never anything else."""
    good = x509.load_pem_x509_crl(staff.revocation_list("joe")).public_bytes(Encoding.DER)
    dice = random.Random(7)
    refused = 0
    for number in range(3000):
        mutant = bytearray(good)
        mutant[dice.randrange(len(mutant))] = dice.randrange(256)
        cut = bytes(mutant[: number % len(good)]) if number < len(good) else bytes(mutant)
        try:
            parse_lists(as_pem(cut))
        except RevocationError:
            refused += 1
    assert len(good) <= refused < 3000
