"""The values of the variables about a client's certificate: `$tls_client_subject`, `$tls_client_fingerprint`, ...

Called by `web.variables`. Each value is "" unless the client has shown a certificate that OpenSSL has verified: with
`"client_auth": "request"` the handshake with any other certificate fails. A resumed session keeps its certificate.
"""

from __future__ import annotations

import ssl
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from npserver.web.exchange import Exchange

_SUBJECT_KEYS = {
    "commonName": "CN", "organizationName": "O", "organizationalUnitName": "OU", "countryName": "C",
    "localityName": "L", "stateOrProvinceName": "ST",
}  # fmt: skip
#: The kinds of alternative names, as OpenSSL's configuration files have them.
_NAME_KINDS = {"DNS": "DNS", "email": "email", "URI": "URI", "IP Address": "IP"}


def subject(exchange: Exchange) -> str:
    """Return the subject, such as `CN=joe,O=Example`."""
    parts = [part for rdn in _fields(exchange).get("subject", ()) for part in rdn]
    return ",".join([f"{_SUBJECT_KEYS.get(key, key)}={_escape(value)}" for key, value in parts])


def alternative_names(exchange: Exchange) -> str:
    """Return the subject alternative names, such as `DNS:joe.example,email:joe@example.com`."""
    names = _fields(exchange).get("subjectAltName", ())
    return ",".join([f"{_NAME_KINDS[kind]}:{_escape(name)}" for kind, name in names if kind in _NAME_KINDS])


def serial(exchange: Exchange) -> str:
    """Return the serial number in hexadecimal, upper case, as OpenSSL prints it."""
    return str(_fields(exchange).get("serialNumber", ""))


def fingerprint(exchange: Exchange) -> str:
    """Return the SHA-256 of the certificate's DER, in hexadecimal, lower case."""
    der = _der(exchange)
    return sha256(der).hexdigest() if der else ""


def escaped_pem(exchange: Exchange) -> str:
    """Return the certificate in PEM, percent-encoded, as nginx's `$ssl_client_escaped_cert`."""
    der = _der(exchange)
    return quote(ssl.DER_cert_to_PEM_cert(der), safe="") if der else ""


def _fields(exchange: Exchange) -> dict[str, Any]:
    """Return the certificate as Python's ssl decodes it; empty without a verified one."""
    tls: Any = exchange.tls
    return (tls.getpeercert() or {}) if tls is not None else {}


def _der(exchange: Exchange) -> bytes:
    tls: Any = exchange.tls
    if tls is None or tls.context.verify_mode is ssl.CERT_NONE:
        return b""
    return tls.getpeercert(binary_form=True) or b""


def _escape(value: str) -> str:
    r"""Return a value with `\` before its commas and backslashes (RFC 4514 §2.4): none can pretend to be two."""
    return value.replace("\\", "\\\\").replace(",", "\\,") if "," in value or "\\" in value else value
