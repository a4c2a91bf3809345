"""Compiles `tls` sections: of listeners into their certificates, of upstreams into SSL contexts."""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from npserver.config.report import key_of
from npserver.errors import clip
from npserver.host_hints import hint_at_host
from npserver.idn import to_ascii
from npserver.tls import certificates
from npserver.tls.certificates import LoadedCertificate, ServerTls, explain
from npserver.tls.combination import NamedCertificate, combine
from npserver.tls.config import CertificateSettings, Tls
from npserver.tls.revocation import RevocationError, parse_authorities
from npserver.tls.store import CERTIFICATES
from npserver.tls.x509 import CertificateError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from npserver.config.report import Path, Report
    from npserver.runtime.compilation import Compilation
    from npserver.tls.revocation import Authority
    from npserver.upstream.config import UpstreamTls

EXPIRY_NOTICE = timedelta(days=7)  # warned of; programs that renew certificates do so 30 days before


def server_context(
    compilation: Compilation, path: Path, tls: Tls | list[Tls], *, speaks_http: bool = False
) -> ServerTls | None:
    """Load the certificates of a listener. Return None, with errors in the report, if one cannot be used.

    `speaks_http` lets HTTP be offered by ALPN: what an `ssl` listener carries is not known, and it offers nothing.
    """
    report = compilation.report
    entries = [(path, tls)] if isinstance(tls, Tls) else [((*path, index), one) for index, one in enumerate(tls)]
    if not entries:
        report.error(path, "a list of certificates must not be empty")
        return None
    named: list[NamedCertificate] = []
    for place, entry in entries:
        loaded = _load(compilation, place, entry, speaks_http=speaks_http)
        if loaded is not None:
            names = _names(report, place, entry) if entry.names else list(loaded.certificate.names)
            named.append(NamedCertificate(place, entry.cert, loaded, names))
    found = combine(report, CERTIFICATES.of(compilation.context), named)
    keys = {one.loaded.settings: key_of(one.path) for one in named}
    return ServerTls(found, keys) if len(named) == len(entries) else None


def client_context(compilation: Compilation, path: Path, tls: UpstreamTls) -> ssl.SSLContext | None:
    """Return the SSL context for https and ssl targets; None, with errors in the report, if it cannot be made."""
    report = compilation.report
    files = {"ca": tls.ca, "cert": tls.cert, "key": tls.key}
    found = {name: _file(compilation, (*path, name), file) for name, file in files.items() if file is not None}
    if tls.key is not None and tls.cert is None:
        report.error((*path, "key"), "'key' requires 'cert'")
        return None
    if tls.insecure:
        if tls.ca is not None:
            report.error((*path, "ca"), "'ca' has no effect with 'insecure': nothing is verified")
        report.warn((*path, "insecure"), "upstream certificates are not verified: traffic can be intercepted")
    if None in found.values():
        return None
    try:
        return certificates.client_context(
            found.get("ca"),
            found.get("cert"),
            found.get("key"),
            insecure=tls.insecure,
            files=CERTIFICATES.of(compilation.context).files,
        )
    except (OSError, ValueError) as error:
        name = "ca" if tls.cert is None or _is_about_authorities(error) else "cert"
        report.error((*path, name), f"{clip(files[name])} cannot be used: {explain(error)}")
    return None


def _load(compilation: Compilation, path: Path, entry: Tls, *, speaks_http: bool) -> LoadedCertificate | None:
    """Load one certificate."""
    report = compilation.report
    cert = _file(compilation, (*path, "cert"), entry.cert)
    key = _file(compilation, (*path, "key"), entry.key)
    client_ca = _file(compilation, (*path, "client_ca"), entry.client_ca) if entry.client_ca is not None else None
    crls = {file: place for place, file in _revocation_files(compilation, path, entry)}
    if cert is None or key is None or (entry.client_ca is not None and client_ca is None) or None in crls:
        return None
    http2 = entry.http2 and speaks_http
    settings = CertificateSettings(
        cert, key, client_ca, entry.client_auth, entry.min_version, http2, speaks_http, tuple(filter(None, crls))
    )
    try:
        loaded = CERTIFICATES.of(compilation.context).load(settings)
    except RevocationError as error:
        report.error(crls[error.file], f"{clip(os.path.basename(error.file))} cannot be used: {error}")
        return None
    except (OSError, ValueError) as error:
        name = _faulty(error)
        report.error((*path, name), f"{clip(getattr(entry, name))} cannot be used: {explain(error)}")
        return None
    if loaded.problem:
        reason = f"the changed files of {clip(entry.cert)} cannot be used, the old certificate stays"
        report.check_error((*path, "cert"), f"{reason}: {loaded.problem}")
    _check_validity(report, (*path, "cert"), loaded, entry)
    if client_ca is not None:
        _check_revocation(compilation, path, loaded, crls)
    return loaded


def _revocation_files(compilation: Compilation, path: Path, entry: Tls) -> list[tuple[Path, str | None]]:
    """Return the files of `client_crl` with their places; None, with an error in the report, for those not readable."""
    place = (*path, "client_crl")
    if not entry.client_crl:
        return []
    if entry.client_ca is None:
        compilation.report.error(
            place, "'client_crl' requires 'client_ca': without it no client certificate is asked for"
        )
        return []
    if isinstance(entry.client_crl, str):
        return [(place, _file(compilation, place, entry.client_crl))]
    places = [((*place, index), name) for index, name in enumerate(entry.client_crl)]
    return [(one, _file(compilation, one, name)) for one, name in places]


def _file(compilation: Compilation, path: Path, name: str) -> str | None:
    """Return the absolute path of a file; None, with an error in the report, if it cannot be read."""
    document, files = compilation.document, CERTIFICATES.of(compilation.context).files
    # A process without permission to read the file may have been supplied with it, by the path that the master found.
    beside = os.path.abspath(os.path.join(document.directory, name))
    file = beside if files.is_supplied(beside) else os.path.abspath(document.resolve(name))
    try:
        files.read(file)
        return file
    except OSError as error:
        compilation.report.error(path, f"cannot read {clip(name)}: {explain(error)}")
        return None


def _faulty(error: Exception) -> str:
    """Return the config key of the file that `error` is about."""
    if isinstance(error, CertificateError):
        return "cert"
    return "client_ca" if _is_about_authorities(error) else "key"


def _is_about_authorities(error: Exception) -> bool:
    """Whether OpenSSL found no certificate in a file with those of authorities."""
    return "NO_CERTIFICATE_OR_CRL_FOUND" in str(error).upper()


def _check_validity(report: Report, path: Path, loaded: LoadedCertificate, entry: Tls) -> None:
    now, certificate = datetime.now(UTC), loaded.certificate
    if certificate.not_after < now:
        report.check_error(path, f"{clip(entry.cert)} expired on {certificate.not_after:%Y-%m-%d %H:%M} UTC")
    elif certificate.not_before > now:
        report.check_error(path, f"{clip(entry.cert)} is not valid before {certificate.not_before:%Y-%m-%d %H:%M} UTC")
    elif certificate.not_after - now < EXPIRY_NOTICE:
        report.warn(path, f"{clip(entry.cert)} expires on {certificate.not_after:%Y-%m-%d %H:%M} UTC")


def _check_revocation(
    compilation: Compilation, path: Path, loaded: LoadedCertificate, places: Mapping[str | None, Path]
) -> None:
    """Report the revocation lists because of which OpenSSL refuses clients that have done nothing wrong."""
    report, now, client_ca = compilation.report, datetime.now(UTC), loaded.settings.client_ca
    if client_ca is None or not loaded.revocation_lists:
        return
    authorities = parse_authorities(CERTIFICATES.of(compilation.context).files.read(client_ca))
    strangers = False
    for file, found in loaded.revocation_lists:
        place, name, until, notice_at = places[file], clip(os.path.basename(file)), found.next_update, found.notice_at
        consequence = f"all clients of {clip(found.issuer)} are refused"
        if until is not None and until <= now:
            report.check_error(
                place, f"{name} expired on {until:%Y-%m-%d %H:%M} UTC: {consequence}; fetch its successor"
            )
        elif found.issued > now:
            report.check_error(place, f"{name} is not valid before {found.issued:%Y-%m-%d %H:%M} UTC: {consequence}")
        elif until is not None and notice_at is not None and notice_at <= now:
            report.warn(place, f"{name} expires on {until:%Y-%m-%d %H:%M} UTC: from then on {consequence}")
        if not any(one.is_issuer_of(found) for one in authorities):
            strangers = True
            has_name = found.issuer in {one.name for one in authorities}
            fault = "signed with another key than the authority in" if has_name else "which is not an authority in"
            reason = f"{name} is a list by {clip(found.issuer)}, {fault} 'client_ca'"
            report.warn(place, f"{reason}: it only counts for clients that send this authority's certificate along")
    if not strangers:
        _check_all_have_lists(report, (*path, "client_crl"), authorities, loaded)


def _check_all_have_lists(report: Report, path: Path, authorities: list[Authority], loaded: LoadedCertificate) -> None:
    """Warn of authorities without a list. A root whose intermediates are there, too, issues no client certificates."""
    roots = {one.issuer for one in authorities if one.issuer != one.name}
    for one in authorities:
        if one.name not in roots and not any(one.is_issuer_of(found) for _, found in loaded.revocation_lists):
            report.warn(
                path, f"no list by {clip(one.name)}, an authority in 'client_ca': all of its clients are refused"
            )


def _names(report: Report, path: Path, entry: Tls) -> list[str]:
    """Return the server names that the config lists for a certificate."""
    names = []
    for index, text in enumerate(entry.names):
        place = (*path, "names", index)
        try:
            name = to_ascii(text).lower().removesuffix(".")
        except ValueError as error:
            report.error(place, f"{clip(text)} is {error}")
            continue
        labels = name.removeprefix("*.").split(".")
        if not all(labels) or "*" in name.removeprefix("*.") or "/" in name or ":" in name:
            report.error(place, f"expected a host name or `*.` and one, got {clip(text)}")
            continue
        if name == "_":
            report.warn(place, "'names': '_' is the name of no host: for all other names, put the certificate first")
        elif hint := hint_at_host("names", text, ignores_port=False):
            report.warn(place, hint)
        names.append(name)
    return names
