"""Reads certificate revocation lists (RFC 5280 §5), and compares them with the authorities that issue certificates.

Pure. Nothing is verified here, and no serial number is read: OpenSSL does that for each client. What is read tells the
operator when OpenSSL would refuse all clients: a list that has expired, or one of another authority.
"""

from __future__ import annotations

import binascii
import re
from datetime import datetime, timedelta

from msgspec import Struct

from npserver.regex import regex
from npserver.tls.der import INTEGER, SEQUENCE, DerError, children, expect, extension, name_text, only, time_at

NOTICE = timedelta(days=2)  # the longest time before the next update in which an operator is warned

_LIST = regex(rb"-----BEGIN X509 CRL-----\s(.+?)-----END ", re.DOTALL)
_CERTIFICATE = regex(rb"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----\s(.+?)-----END ", re.DOTALL)
_VERSION, _LIST_EXTENSIONS, _CERTIFICATE_EXTENSIONS, _KEY_ID = 0xA0, 0xA0, 0xA3, 0x80  # context tags
_SUBJECT_KEY_ID, _AUTHORITY_KEY_ID = bytes.fromhex("551d0e"), bytes.fromhex("551d23")


class RevocationError(ValueError):
    """A file has no usable revocation lists."""

    def __init__(self, message: str, file: str = "") -> None:
        super().__init__(message)
        self.file = file


class RevocationList(Struct, frozen=True):
    """The fields of a revocation list that its user needs."""

    issuer: str  # its distinguished name
    key_id: bytes  # of the key that signed it; b"" if the list does not say
    issued: datetime
    next_update: datetime | None  # from then on OpenSSL refuses all clients of the issuer

    @property
    def notice_at(self) -> datetime | None:
        """Return the time from which the operator is warned: a quarter of the list's life is left, two days at most."""
        if self.next_update is None:
            return None
        return self.next_update - min(NOTICE, (self.next_update - self.issued) / 4)


class Authority(Struct, frozen=True):
    """The fields of an authority's certificate by which its revocation lists are found."""

    name: str
    issuer: str
    key_id: bytes  # b"" if the certificate does not say

    def is_issuer_of(self, found: RevocationList) -> bool:
        """Return whether a revocation list is from this authority, as OpenSSL decides it (RFC 5280 §6.3.3)."""
        same_key = found.key_id == self.key_id or not found.key_id or not self.key_id
        return found.issuer.casefold() == self.name.casefold() and same_key


def parse_lists(data: bytes, file: str = "") -> tuple[RevocationList, ...]:
    """Read all revocation lists of a PEM file. Raises: RevocationError.

    A file that also contains certificates is refused: OpenSSL would trust them as authorities.
    """
    if _CERTIFICATE.search(data):
        raise RevocationError("there is a certificate in it, which belongs to client_ca", file)
    try:
        found = tuple([_parse_list(binascii.a2b_base64(match[1])) for match in _LIST.finditer(data)])
    except (binascii.Error, DerError) as error:
        raise RevocationError(f"damaged revocation list: {error}", file) from error
    if not found:
        hint = "; convert it with openssl crl -inform DER" if data[:1] == b"\x30" else ""
        raise RevocationError(f"no PEM revocation list (-----BEGIN X509 CRL-----) in it{hint}", file)
    return found


def parse_authorities(data: bytes) -> list[Authority]:
    """Read the certificates of a PEM file; damaged ones are left out, OpenSSL reports them."""
    found = []
    for match in _CERTIFICATE.finditer(data):
        try:
            found.append(_parse_authority(binascii.a2b_base64(match[1])))
        except (binascii.Error, DerError):
            continue
    return found


def _parse_list(data: bytes) -> RevocationList:
    fields = children(expect(children(only(data, SEQUENCE)), 0, SEQUENCE))
    if fields and fields[0][0] == INTEGER:
        fields = fields[1:]
    # signature, issuer, thisUpdate, nextUpdate (optional), revokedCertificates (optional), extensions (optional)
    has_next = len(fields) > 3 and fields[3][0] != SEQUENCE and fields[3][0] != _LIST_EXTENSIONS
    extensions = next((content for tag, content in fields[3:] if tag == _LIST_EXTENSIONS), b"")
    identifier = extension(extensions, _AUTHORITY_KEY_ID)
    key_id = dict(children(only(identifier, SEQUENCE))).get(_KEY_ID, b"") if identifier else b""
    issued, next_update = time_at(fields, 2), (time_at(fields, 3) if has_next else None)
    return RevocationList(name_text(expect(fields, 1, SEQUENCE)), key_id, issued, next_update)


def _parse_authority(data: bytes) -> Authority:
    fields = children(expect(children(only(data, SEQUENCE)), 0, SEQUENCE))
    if fields and fields[0][0] == _VERSION:
        fields = fields[1:]
    # serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo, ..., extensions
    extensions = next((content for tag, content in fields[6:] if tag == _CERTIFICATE_EXTENSIONS), b"")
    identifier = extension(extensions, _SUBJECT_KEY_ID)
    _, key_id = children(identifier)[0] if identifier else (0, b"")
    return Authority(name_text(expect(fields, 4, SEQUENCE)), name_text(expect(fields, 2, SEQUENCE)), key_id)
