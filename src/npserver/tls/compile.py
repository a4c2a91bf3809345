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
from npserver.tls.store import CERTIFICATES
from npserver.tls.x509 import CertificateError

if TYPE_CHECKING:
    from npserver.config.report import Path, Report
    from npserver.runtime.compilation import Compilation
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
    if cert is None or key is None or (entry.client_ca is not None and client_ca is None):
        return None
    http2 = entry.http2 and speaks_http
    settings = CertificateSettings(cert, key, client_ca, entry.client_auth, entry.min_version, http2, speaks_http)
    try:
        loaded = CERTIFICATES.of(compilation.context).load(settings)
    except (OSError, ValueError) as error:
        name = _faulty(error)
        report.error((*path, name), f"{clip(getattr(entry, name))} cannot be used: {explain(error)}")
        return None
    if loaded.problem:
        reason = f"the changed files of {clip(entry.cert)} cannot be used, the old certificate stays"
        report.check_error((*path, "cert"), f"{reason}: {loaded.problem}")
    _check_validity(report, (*path, "cert"), loaded, entry)
    return loaded


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
