"""Reads the names, the validity and the key type of a server's own certificate (RFC 5280 §4.1).

Pure. A cryptography package would take longer to import than all else at a start. Nothing is verified here: OpenSSL
does that.
"""

from __future__ import annotations

import binascii
import re
from datetime import UTC, datetime

from msgspec import Struct

from npserver.regex import regex

_PEM = regex(rb"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----\s(.+?)-----END ", re.DOTALL)

_INTEGER, _OID, _UTC_TIME, _GENERALIZED_TIME, _SEQUENCE, _SET = 0x02, 0x06, 0x17, 0x18, 0x30, 0x31
_VERSION, _EXTENSIONS = 0xA0, 0xA3  # context tags of a TBSCertificate
_DNS_NAME, _IP_ADDRESS = 0x82, 0x87  # context tags of a GeneralName (RFC 5280 §4.2.1.6)
_COMMON_NAME = bytes.fromhex("550403")
_SUBJECT_ALT_NAME = bytes.fromhex("551d11")
_KEY_KINDS = {"2a864886f70d010101": "RSA", "2a8648ce3d0201": "EC", "2b6570": "Ed25519", "2b6571": "Ed448"}

Element = tuple[int, bytes]


class CertificateError(ValueError):
    """The bytes are not a certificate."""


class Certificate(Struct, frozen=True):
    """The fields of a certificate that its server needs."""

    names: tuple[str, ...]  # lower case, with wildcards; the common name if there are no alternative names
    not_before: datetime
    not_after: datetime
    key_kind: str  # RSA, EC, Ed25519, Ed448, or the key's object identifier


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
    certificate = _children(_only(data, _SEQUENCE))
    fields = _children(_expect(certificate, 0, _SEQUENCE))
    if fields and fields[0][0] == _VERSION:
        fields = fields[1:]
    # serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo, ..., extensions
    validity = _children(_expect(fields, 3, _SEQUENCE))
    key = _children(_expect(_children(_expect(fields, 5, _SEQUENCE)), 0, _SEQUENCE))
    kind = _expect(key, 0, _OID).hex()
    extensions = next((content for tag, content in fields[6:] if tag == _EXTENSIONS), b"")
    names = _alternative_names(extensions) or _common_name(_expect(fields, 4, _SEQUENCE))
    return Certificate(names, _time(validity, 0), _time(validity, 1), _KEY_KINDS.get(kind, kind))


def _element(data: bytes, start: int) -> tuple[int, bytes, int]:
    """Return the tag and the content of the element at `start`, and its end (X.690 §8.1)."""
    if start + 2 > len(data):
        raise CertificateError("the certificate is truncated")
    tag, size, start = data[start], data[start + 1], start + 2
    if size & 0x80:
        count = size & 0x7F
        if not 1 <= count <= 4 or start + count > len(data):
            raise CertificateError("malformed length in the certificate")
        size, start = int.from_bytes(data[start : start + count], "big"), start + count
    end = start + size
    if end > len(data):
        raise CertificateError("the certificate is truncated")
    return tag, data[start:end], end


def _children(data: bytes) -> list[Element]:
    found, at = [], 0
    while at < len(data):
        tag, content, at = _element(data, at)
        found.append((tag, content))
    return found


def _only(data: bytes, tag: int) -> bytes:
    found, content, _ = _element(data, 0)
    if found != tag:
        raise CertificateError(f"expected element {tag:#x} in a certificate, got {found:#x}")
    return content


def _expect(elements: list[Element], index: int, tag: int) -> bytes:
    if index >= len(elements) or elements[index][0] != tag:
        raise CertificateError(f"expected element {tag:#x} in a certificate")
    return elements[index][1]


def _time(elements: list[Element], index: int) -> datetime:
    """Return a time of validity. Two-digit years from 50 on are 19xx, others 20xx (RFC 5280 §4.1.2.5.1)."""
    if index >= len(elements) or elements[index][0] not in (_UTC_TIME, _GENERALIZED_TIME):
        raise CertificateError("no validity period in the certificate")
    tag, content = elements[index]
    text = content.decode("ascii", "replace")
    if tag == _UTC_TIME:
        text = ("19" if text[:2] >= "50" else "20") + text
    try:
        return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise CertificateError("malformed time in the certificate") from error


def _alternative_names(extensions: bytes) -> tuple[str, ...]:
    names: list[str] = []
    for tag, extension in _children(_only(extensions, _SEQUENCE)) if extensions else ():
        parts = _children(extension) if tag == _SEQUENCE else []
        if len(parts) >= 2 and parts[0] == (_OID, _SUBJECT_ALT_NAME):
            general_names = _children(_only(parts[-1][1], _SEQUENCE))
            names += [_text(content) for kind, content in general_names if kind == _DNS_NAME]
            names += [_address(content) for kind, content in general_names if kind == _IP_ADDRESS]
    return tuple(dict.fromkeys(name for name in names if name))


def _common_name(subject: bytes) -> tuple[str, ...]:
    for tag, group in _children(subject):
        for _, pair in _children(group) if tag == _SET else ():
            parts = _children(pair)
            if len(parts) == 2 and parts[0] == (_OID, _COMMON_NAME):
                name = _text(parts[1][1])
                return (name,) if ("." in name and " " not in name) or name == "localhost" else ()
    return ()


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace").lower().removesuffix(".")


def _address(content: bytes) -> str:
    return ".".join(map(str, content)) if len(content) == 4 else ""
