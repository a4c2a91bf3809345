"""Combines certificates for one server name that have different types of keys, such as RSA and ECDSA.

Called by `tls.compile`. OpenSSL chooses among the certificates of one context by the client's signature algorithms, and
with TLS 1.2 by its cipher suites and curves (RFC 8446 §4.4.2.2, RFC 8422 §5.1). So a name that several certificates
have gets a context that holds all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from npserver.errors import clip
from npserver.tls.certificates import LoadedCertificate, explain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from npserver.config.report import Path, Report
    from npserver.tls.store import CertificateStore


class NamedCertificate(Struct):
    """A certificate of the config."""

    path: Path
    cert: str  # its file, as the config has it
    loaded: LoadedCertificate
    names: list[str]  # the server names it is used for


def combine(
    report: Report, store: CertificateStore, named: list[NamedCertificate]
) -> list[tuple[LoadedCertificate, list[str]]]:
    """Return the certificates to use, each with its server names; of two with the same name the first is used.

    A combination comes before its first part, so that the default of a listener is one, too, if its first certificate
    has a name that another one has. Certificates that are never used are warned of.
    """
    users: dict[str, list[NamedCertificate]] = {}
    for one in named:
        _add(report, one, users)
    return [entry for one in named for entry in _entries(report, store, one, users)]


def _add(report: Report, one: NamedCertificate, users: dict[str, list[NamedCertificate]]) -> None:
    """Add a certificate to the users of its names."""
    is_used = not one.names
    for name in one.names:
        others = users.setdefault(name, [])
        if not others or (_has_other_key(one, others) and _has_same_settings(one, others[0])):
            others.append(one)
            is_used = True
    if not is_used:
        others = users[one.names[0]]
        reason = f"{clip(one.cert)} is never used: {clip(others[0].cert)} has all of its names"
        if _has_other_key(one, others):
            keys = "client_ca, client_auth, client_crl, min_version and http2"
            reason += f" and other settings: with the same {keys} both are used"
        report.warn(one.path, reason)


def _has_other_key(one: NamedCertificate, others: list[NamedCertificate]) -> bool:
    return one.loaded.certificate.key_kind not in {other.loaded.certificate.key_kind for other in others}


def _has_same_settings(one: NamedCertificate, other: NamedCertificate) -> bool:
    """Whether two certificates differ in their files only: a client that chooses one must not choose its settings."""
    settings, wanted = one.loaded.settings, other.loaded.settings
    return replace(settings, cert=wanted.cert, key=wanted.key, key_passphrase=wanted.key_passphrase) == wanted


def _entries(
    report: Report, store: CertificateStore, one: NamedCertificate, users: dict[str, list[NamedCertificate]]
) -> Iterator[tuple[LoadedCertificate, list[str]]]:
    """Return the combinations that begin with a certificate, and the certificate itself."""
    combined: dict[tuple[tuple[str, str, str | None], ...], list[str]] = {}
    for name in one.names:
        first, *others = users[name]
        if first is one and others:
            settings = [other.loaded.settings for other in others]
            files = tuple([(other.cert, other.key, other.key_passphrase) for other in settings])
            combined.setdefault(files, []).append(name)
    for files, names in combined.items():
        try:
            yield store.load(replace(one.loaded.settings, alternatives=files)), names
        except (OSError, ValueError) as error:
            cannot = f"cannot be used together with {clip(files[0][0])} for one name"
            report.error((*one.path, "cert"), f"{clip(one.cert)} {cannot}: {explain(error)}")
    yield one.loaded, one.names
