"""Reads the names, the issuer, the validity and the key type of a server's own certificate (RFC 5280 §4.1).

Pure. A cryptography package would take longer to import than all else at a start. Nothing is verified here: OpenSSL
does that.
"""

from __future__ import annotations

import binascii
import re
from datetime import datetime

from msgspec import Struct

from npserver.regex import regex
from npserver.tls.der import OID, SEQUENCE, SET, DerError, children, expect, extension, name_text, only, time_at

_PEM = regex(rb"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----\s(.+?)-----END ", re.DOTALL)

_VERSION, _EXTENSIONS = 0xA0, 0xA3  # context tags of a TBSCertificate
_DNS_NAME, _IP_ADDRESS = 0x82, 0x87  # context tags of a GeneralName (RFC 5280 §4.2.1.6)
_COMMON_NAME = bytes.fromhex("550403")
_SUBJECT_ALT_NAME = bytes.fromhex("551d11")
_KEY_KINDS = {"2a864886f70d010101": "RSA", "2a8648ce3d0201": "EC", "2b6570": "Ed25519", "2b6571": "Ed448"}


class CertificateError(ValueError):
    """The bytes are not a certificate."""


class Certificate(Struct, frozen=True):
    """The fields of a certificate that its server needs."""

    names: tuple[str, ...]  # lower case, with wildcards; the common name if there are no alternative names
    not_before: datetime
    not_after: datetime
    key_kind: str  # RSA, EC, Ed25519, Ed448, or the key's object identifier
    issuer: str  # its distinguished name


def parse_pem(data: bytes) -> Certificate:
    """Read the first certificate of a PEM file. Raises: CertificateError."""
    match = _PEM.search(data)
    if match is None:
        raise CertificateError("no PEM certificate (-----BEGIN CERTIFICATE-----) in it")
    try:
        return parse_der(binascii.a2b_base64(match[1]))
    except (binascii.Error, IndexError) as error:
        raise CertificateError("damaged certificate") from error


def parse_der(data: bytes) -> Certificate:
    """Read a certificate. Raises: CertificateError."""
    try:
        return _parse(data)
    except DerError as error:
        raise CertificateError(f"damaged certificate: {error}") from error


def _parse(data: bytes) -> Certificate:
    certificate = children(only(data, SEQUENCE))
    fields = children(expect(certificate, 0, SEQUENCE))
    if fields and fields[0][0] == _VERSION:
        fields = fields[1:]
    # serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo, ..., extensions
    validity = children(expect(fields, 3, SEQUENCE))
    key = children(expect(children(expect(fields, 5, SEQUENCE)), 0, SEQUENCE))
    kind = expect(key, 0, OID).hex()
    extensions = next((content for tag, content in fields[6:] if tag == _EXTENSIONS), b"")
    names = _alternative_names(extensions) or _common_name(expect(fields, 4, SEQUENCE))
    issuer = name_text(expect(fields, 2, SEQUENCE))
    return Certificate(names, time_at(validity, 0), time_at(validity, 1), _KEY_KINDS.get(kind, kind), issuer)


def _alternative_names(extensions: bytes) -> tuple[str, ...]:
    names: list[str] = []
    if value := extension(extensions, _SUBJECT_ALT_NAME):
        general_names = children(only(value, SEQUENCE))
        names += [_text(content) for kind, content in general_names if kind == _DNS_NAME]
        names += [_address(content) for kind, content in general_names if kind == _IP_ADDRESS]
    return tuple(dict.fromkeys(name for name in names if name))


def _common_name(subject: bytes) -> tuple[str, ...]:
    for tag, group in children(subject):
        for _, pair in children(group) if tag == SET else ():
            parts = children(pair)
            if len(parts) == 2 and parts[0] == (OID, _COMMON_NAME):
                name = _text(parts[1][1])
                return (name,) if ("." in name and " " not in name) or name == "localhost" else ()
    return ()


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace").lower().removesuffix(".")


def _address(content: bytes) -> str:
    return ".".join(map(str, content)) if len(content) == 4 else ""
