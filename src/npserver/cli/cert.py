"""`npserver cert`: create a certificate for testing, self-signed or signed by a local certificate authority."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from npserver.errors import clip, reason_of
from npserver.idn import to_ascii

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

USAGE = """\
usage: npserver cert [NAME...] [-ca] [-out DIR]

Create testsite.crt and testsite.key, a certificate for testing that servers and clients can use.

  NAME       host name or IP address that the certificate is for (default: localhost 127.0.0.1 ::1)
  -ca        sign it with a local certificate authority, ca.crt and ca.key, which is created on first use;
             without -ca the certificate is self-signed
  -out DIR   directory to write the files to (default: the working directory)
"""
DEFAULT_NAMES = ("localhost", "127.0.0.1", "::1")
LIFE = timedelta(days=397)  # the longest that browsers accept
CA_LIFE = timedelta(days=3650)
CLOCK_SKEW = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority."""

    certificate: x509.Certificate
    key: EllipticCurvePrivateKey


def main(words: list[str]) -> int:
    """Create a certificate. Return the exit status."""
    if words in (["-help"], ["--help"], ["-h"]):
        print(USAGE, end="")
        return 0
    names: list[str] = []
    directory, wants_authority = Path(), False
    rest = iter(words)
    for word in rest:
        if word in ("-ca", "--ca"):
            wants_authority = True
        elif word in ("-out", "--out") and (value := next(rest, "")):
            directory = Path(value)
        elif word.startswith("-"):
            print(f"npserver cert: unknown or incomplete option {clip(word)}\n{USAGE}", end="", file=sys.stderr)
            return 2
        else:
            names.append(word)
    try:
        _make(names or list(DEFAULT_NAMES), directory, wants_authority=wants_authority)
    except (OSError, ValueError) as error:
        print(f"npserver cert: {_explain(error)}", file=sys.stderr)
        return 1
    return 0


def write_certificate(names: Sequence[str], cert: Path, key: Path, authority: Authority | None = None) -> datetime:
    """Write a certificate for `names` and its private key. Without an authority it is self-signed.

    Return the end of its validity. Raises: OSError; ValueError for a name that is not valid.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    private = ec.generate_private_key(ec.SECP256R1())
    subject = _name(names[0])
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = _sign(
        subject,
        private,
        authority,
        LIFE,
        [
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (x509.SubjectAlternativeName([_general_name(name) for name in names]), False),
            (x509.ExtendedKeyUsage(purposes), False),
        ],
    )
    _write(cert, _pem(certificate), 0o644)
    _write(key, _key_pem(private), 0o600)
    return certificate.not_valid_after_utc


def load_authority(cert: Path, key: Path) -> Authority:
    """Load a local certificate authority, or create it if `cert` does not exist. Raises: OSError, ValueError."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    if cert.exists():
        private = serialization.load_pem_private_key(key.read_bytes(), None)
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{key} is not a key made by npserver cert -ca: choose another directory with -out")
        return Authority(x509.load_pem_x509_certificate(cert.read_bytes()), private)
    private = ec.generate_private_key(ec.SECP256R1())
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    subject = _name("npserver test authority")
    limits = x509.BasicConstraints(ca=True, path_length=0)
    certificate = _sign(subject, private, None, CA_LIFE, [(limits, True), (usage, True)])
    _write(cert, _pem(certificate), 0o644)
    _write(key, _key_pem(private), 0o600)
    return Authority(certificate, private)


def _explain(error: Exception) -> str:
    file = getattr(error, "filename", None)
    return f"{file}: {reason_of(error)}" if file else reason_of(error)


def _make(names: list[str], directory: Path, *, wants_authority: bool) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    cert, key, ca = directory / "testsite.crt", directory / "testsite.key", directory / "ca.crt"
    authority = load_authority(ca, directory / "ca.key") if wants_authority else None
    until = write_certificate(names, cert, key, authority)
    signer = f"signed by {ca}" if authority else "self-signed"
    trusted = ca if authority else cert
    host = f"[{names[0]}]" if ":" in names[0] else names[0].replace("*.", "www.")
    print(f"{cert}, {key}: for {', '.join(names)}; {signer}; valid until {until:%Y-%m-%d}")
    print(f"serve:  npserver https://:8443 -cert {cert} -key {key}")
    print(f"try:    curl --cacert {trusted} https://{host}:8443/")
    if authority:
        print(f'mutual: "client_ca": "{ca}" in "tls", then  curl --cacert {ca} --cert {cert} --key {key} ...')
        print(f"trust:  add {ca} to the authorities of your browser or system; keep ca.key secret")
    else:
        print("        browsers show a warning: the certificate is not signed by an authority they trust")


def _sign(
    subject: x509.Name,
    private: EllipticCurvePrivateKey,
    authority: Authority | None,
    life: timedelta,
    extensions: list[tuple[x509.ExtensionType, bool]],
) -> x509.Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    now = datetime.now(UTC)
    signer = authority.key if authority else private
    until = now + life
    if authority:
        until = min(until, authority.certificate.not_valid_after_utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority.certificate.subject if authority else subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    for extension, is_critical in extensions:
        builder = builder.add_extension(extension, critical=is_critical)
    return builder.sign(signer, hashes.SHA256())


def _name(text: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


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


def _pem(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def _key_pem(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(file: Path, data: bytes, mode: int) -> None:
    """Write a file atomically. It is never readable by more users than `mode` allows."""
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(data)
    fresh.replace(file)
