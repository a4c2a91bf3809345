"""Compiles `tls` sections: of listeners into their certificates, of upstreams into SSL contexts."""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Literal

from npserver.config.report import key_of
from npserver.errors import clip
from npserver.host_hints import hint_at_host
from npserver.idn import to_ascii
from npserver.tls import certificates
from npserver.tls.acme.answers import ANSWERS
from npserver.tls.acme.config import Acme
from npserver.tls.certificates import LoadedCertificate, PassphraseError, ServerTls, explain
from npserver.tls.combination import NamedCertificate, combine
from npserver.tls.config import CertificateSettings, Tls
from npserver.tls.local_names import is_ip_address, is_local_name
from npserver.tls.revocation import RevocationError
from npserver.tls.revocation_check import check_revocation
from npserver.tls.store import CERTIFICATES
from npserver.tls.x509 import CertificateError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from npserver.config.report import Path, Report
    from npserver.runtime.compilation import Compilation
    from npserver.upstream.config import UpstreamTls

MIN_LIFE_S = 10.0  # of certificates of the local authority, a third of which must be ample to renew them
MAX_NAMES = 100  # in one of them: clients read the whole certificate at each full handshake
EXPIRY_NOTICE = timedelta(days=7)  # warned of; programs that renew certificates do so 30 days before


def server_context(
    compilation: Compilation,
    path: Path,
    tls: Literal["auto", "internal"] | Tls | list[Tls],
    hosts: Sequence[str] = (),
    *,
    speaks_http: bool = False,
) -> ServerTls | None:
    """Load the certificates of a listener. Return None, with errors in the report, if one cannot be used.

    `hosts` are those of its rules; "" stands for any. `speaks_http` lets HTTP be offered by ALPN: what an `ssl`
    listener carries is not known, and it offers nothing.
    """
    report = compilation.report
    ANSWERS.of(compilation.context)  # of challenges, which handshakes look for: made in all processes alike
    if isinstance(tls, str):
        tls = Tls(internal=True) if tls == "internal" else Tls(acme=Acme())
    entries = [(path, tls)] if isinstance(tls, Tls) else [((*path, index), one) for index, one in enumerate(tls)]
    if not entries:
        report.error(path, "a list of certificates must not be empty")
        return None
    made: dict[int, list[NamedCertificate]] = {}  # by the index of the entry
    for index, (place, entry) in enumerate(entries):
        if entry.acme is not None:
            issued = _acme(compilation, place, entry, hosts, speaks_http=speaks_http)
            if issued is not None:
                made[index] = issued
        elif not entry.internal:
            loaded = _load(compilation, place, entry, _files(compilation, place, entry), speaks_http=speaks_http)
            if loaded is not None:
                names = _names(report, place, entry) if entry.names else list(loaded.certificate.names)
                made[index] = [NamedCertificate(place, str(entry.cert), loaded, names)]
    taken = {name for certificates in made.values() for one in certificates for name in one.names}
    for index, (place, entry) in enumerate(entries):
        if entry.internal:
            rest = [host for host in hosts if host not in taken and f"*.{host.partition('.')[2]}" not in taken]
            own = _internal(compilation, place, entry, rest or ([] if hosts else [""]), speaks_http=speaks_http)
            if own is not None:
                made[index] = own
    named = [one for index in sorted(made) for one in made[index]]
    found = combine(report, CERTIFICATES.of(compilation.context), named)
    keys = {one.loaded.settings: key_of(one.path) for one in named}
    return ServerTls(found, keys) if named and len(made) == len(entries) else None


def client_context(compilation: Compilation, path: Path, tls: UpstreamTls) -> ssl.SSLContext | None:
    """Return the SSL context for https and ssl targets; None, with errors in the report, if it cannot be made."""
    report = compilation.report
    files = {"ca": tls.ca, "cert": tls.cert, "key": tls.key, "key_passphrase": tls.key_passphrase}
    found = {name: _file(compilation, (*path, name), file) for name, file in files.items() if file is not None}
    if tls.key is not None and tls.cert is None:
        report.error((*path, "key"), "'key' requires 'cert'")
        return None
    if tls.key_passphrase is not None and tls.cert is None:
        report.error((*path, "key_passphrase"), "'key_passphrase' requires 'cert' and 'key'")
        return None
    if tls.insecure:
        if tls.ca is not None:
            report.error((*path, "ca"), "'ca' has no effect with 'insecure': nothing is verified")
        report.warn((*path, "insecure"), "upstream certificates are not verified: traffic can be intercepted")
    if None in found.values():
        return None
    try:
        context = certificates.client_context(
            found.get("ca"),
            found.get("cert"),
            found.get("key"),
            found.get("key_passphrase"),
            insecure=tls.insecure,
            files=CERTIFICATES.of(compilation.context).files,
        )
        if (key := found.get("key") or found.get("cert")) is not None:
            _check_passphrase(compilation, path, tls, key)
        return context
    except PassphraseError as error:
        name = "key_passphrase" if error.is_given else "key" if tls.key is not None else "cert"
        report.error((*path, name), f"{clip(files[name])} cannot be used: {error}")
    except (OSError, ValueError) as error:
        name = "ca" if tls.cert is None or _is_about_authorities(error) else "cert"
        report.error((*path, name), f"{clip(files[name])} cannot be used: {explain(error)}")
    return None


def _internal(
    compilation: Compilation, path: Path, entry: Tls, hosts: Sequence[str], *, speaks_http: bool
) -> list[NamedCertificate] | None:
    """Return the certificates of the local authority for an entry: one for its local names, one for others."""
    from npserver.tls.internal import internal_file
    from npserver.tls.local_authority import Wanted

    report = compilation.report
    for key in ("cert", "key", "key_passphrase"):
        if getattr(entry, key) is not None:
            report.error((*path, key), f"'{key}' has no effect with 'internal': leave one of them out")
            return None
    if entry.internal_life < MIN_LIFE_S:
        report.error((*path, "internal_life"), f"'internal_life': expected {MIN_LIFE_S:g} s or more")
        return None
    names = _names(report, path, entry) if entry.names else [host for host in hosts if host]
    of_machine = not entry.names and "" in hosts
    found = []
    for group, with_machine in _groups(names, of_machine=of_machine):
        file = internal_file(compilation, path, Wanted(tuple(group), with_machine, entry.internal_life))
        loaded = None if file is None else _load(compilation, path, entry, (file, file), speaks_http=speaks_http)
        if loaded is None:
            return None
        # A client that asks for an IP address sends no server name
        has_address = with_machine or any(map(is_ip_address, group))
        served = [*(loaded.certificate.names if with_machine else group), *([""] if has_address else [])]
        found.append(NamedCertificate(path, "the local authority's", loaded, list(dict.fromkeys(served))))
    if not found:
        report.warn(path, "'internal' has no effect: other certificates have the hosts of all rules")
    return found


def _acme(
    compilation: Compilation, path: Path, entry: Tls, hosts: Sequence[str], *, speaks_http: bool
) -> list[NamedCertificate] | None:
    """Return the certificates of a CA for an entry: one for each name that no wildcard among them covers."""
    from npserver.tls.acme.compile import acme_files

    for key in ("cert", "key", "key_passphrase", "internal"):
        if getattr(entry, key):
            compilation.report.error((*path, key), f"'{key}' has no effect with 'acme': leave one of them out")
            return None
    assert entry.acme is not None
    names = _names(compilation.report, path, entry) if entry.names else [host for host in hosts if host]
    ca = ""
    if entry.acme.ca is not None:
        file = _file(compilation, (*path, "acme", "ca"), entry.acme.ca)
        if file is None:
            return None
        ca = CERTIFICATES.of(compilation.context).files.read(file).decode("ascii", "replace")
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=ca)
        except (ssl.SSLError, ValueError):
            compilation.report.error((*path, "acme", "ca"), f"{clip(entry.acme.ca)} holds no certificate in PEM")
            return None
    files = acme_files(compilation, path, entry.acme, names, ca, of_hosts=not entry.names)
    found = []
    for name, file in files or ():
        loaded = _load(compilation, path, entry, (file, file), speaks_http=speaks_http)
        if loaded is None:
            return None
        served = [name, *([""] if is_ip_address(name) else [])]
        found.append(NamedCertificate(path, f"the CA's for {name}", loaded, served))
    return found or None


def _groups(names: Sequence[str], *, of_machine: bool) -> Iterator[tuple[list[str], bool]]:
    """Yield the names of each certificate, and whether it is for this machine too: local names have their own."""
    local = [name for name in names if is_local_name(name)]
    known = set(local)
    others = [name for name in names if name not in known]
    for group in (local, others):
        for start in range(0, max(len(group), of_machine), MAX_NAMES):
            yield group[start : start + MAX_NAMES], of_machine
            of_machine = False


def _files(compilation: Compilation, path: Path, entry: Tls) -> tuple[str, str] | None:
    """Return the files of a certificate and its key; None, with errors in the report, if one is missing."""
    if entry.cert is None or entry.key is None:
        missing = [f'"{name}"' for name in ("cert", "key") if getattr(entry, name) is None]
        hint = ', or "internal": true' if len(missing) == 2 else ""
        compilation.report.error(path, f"'tls' needs {' and '.join(missing)}{hint}")
        return None
    cert = _file(compilation, (*path, "cert"), entry.cert)
    key = _file(compilation, (*path, "key"), entry.key)
    return None if cert is None or key is None else (cert, key)


def _load(
    compilation: Compilation, path: Path, entry: Tls, pair: tuple[str, str] | None, *, speaks_http: bool
) -> LoadedCertificate | None:
    """Load one certificate from the files of it and of its key."""
    report = compilation.report
    cert, key = pair or (None, None)
    named = {"client_ca": entry.client_ca, "key_passphrase": entry.key_passphrase}
    wanted = {name: file for name, file in named.items() if file is not None}
    found = {name: _file(compilation, (*path, name), file) for name, file in wanted.items()}
    files = {name: file for name, file in found.items() if file is not None}
    crls = {file: place for place, file in _revocation_files(compilation, path, entry)}
    if cert is None or key is None or len(files) < len(wanted) or None in crls:
        return None
    settings = CertificateSettings(
        cert,
        key,
        files.get("client_ca"),
        entry.client_auth,
        entry.min_version,
        entry.http2 and speaks_http,
        speaks_http,
        tuple(filter(None, crls)),
        files.get("key_passphrase"),
    )
    try:
        loaded = CERTIFICATES.of(compilation.context).load(settings)
    except RevocationError as error:
        report.error(crls[error.file], f"{clip(os.path.basename(error.file))} cannot be used: {error}")
        return None
    except (OSError, ValueError) as error:
        name = _faulty(error)
        report.error((*path, name), f"{clip(getattr(entry, name) or cert)} cannot be used: {explain(error)}")
        return None
    if loaded.problem:
        reason = f"the changed files of {clip(entry.cert or cert)} cannot be used, the old certificate stays"
        report.check_error((*path, "cert"), f"{reason}: {loaded.problem}")
    if not entry.internal and entry.acme is None:
        _check_validity(report, (*path, "cert"), loaded, entry)
        _check_passphrase(compilation, path, entry, key)
    if entry.client_ca is not None:
        check_revocation(compilation, path, loaded, crls)
    return loaded


def _check_passphrase(compilation: Compilation, path: Path, entry: Tls | UpstreamTls, key: str) -> None:
    """Warn of a passphrase for a key that is not encrypted."""
    if entry.key_passphrase is not None and b"ENCRYPTED" not in CERTIFICATES.of(compilation.context).files.read(key):
        place = (*path, "key_passphrase")
        compilation.report.warn(
            place, f"'key_passphrase' is not needed: {clip(entry.key or entry.cert)} is not encrypted"
        )


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
    if isinstance(error, PassphraseError) and error.is_given:
        return "key_passphrase"
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
        if entry.internal and is_ip_address(text):
            names.append(str(ip_address(text)))
            continue
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
