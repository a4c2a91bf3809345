"""Compiles `tls` sections: of listeners into their certificates, of upstreams into SSL contexts."""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Literal

from msgspec.structs import replace

from npserver.config.report import key_of
from npserver.errors import clip
from npserver.host_hints import hint_at_host
from npserver.idn import to_ascii
from npserver.network_sets.events import LEARNING
from npserver.networks import is_ip_address
from npserver.tls import certificates
from npserver.tls.acme.answering.answers import ANSWERS
from npserver.tls.acme.config import Acme
from npserver.tls.certificates import LoadedCertificate, PassphraseError, ServerTls, explain
from npserver.tls.combination import NamedCertificate, combine
from npserver.tls.config import CertificateSettings, Tls
from npserver.tls.local_names import is_local_name, normal_name
from npserver.tls.named_file import named_file
from npserver.tls.revocation import RevocationError
from npserver.tls.revocation_check import check_revocation, revocation_files
from npserver.tls.states import STATES
from npserver.tls.store import CERTIFICATES
from npserver.tls.x509 import CertificateError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from npserver.config.report import Path, Report
    from npserver.runtime.compilation import Compilation
    from npserver.upstream.config import UpstreamTls

MIN_LIFE_S = 10.0  # of certificates of the local authority, a third of which must be ample to renew them
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
    hosts = [normal_name(host) for host in hosts]
    has_rest = any(one.internal and one.acme is None and not one.names for _, one in entries)
    taken = {name for _, entry in entries for name in entry.names}  # an entry with a fault has its names all the same
    made: dict[int, list[NamedCertificate]] = {}  # by the index of the entry
    for index in sorted(range(len(entries)), key=lambda index: _turn(entries[index][1])):
        place, entry = entries[index]
        rest = [host for host in hosts if host not in taken and f"*.{host.partition('.')[2]}" not in taken]
        own: list[NamedCertificate] | None = None
        if entry.acme is not None:
            own = _acme(compilation, place, entry, rest, hosts, speaks_http=speaks_http, with_local=not has_rest)
        elif entry.internal:
            rest = rest or ([] if hosts else [""])
            own = _internal(compilation, place, entry, rest, speaks_http=speaks_http)
        else:
            loaded = _load(compilation, place, entry, _files(compilation, place, entry), speaks_http=speaks_http)
            if loaded is not None:
                names = _names(report, place, entry) if entry.names else list(loaded.certificate.names)
                own = [NamedCertificate(place, str(entry.cert), loaded, names)]
                STATES.of(compilation).loaded[loaded.settings.cert] = ("file", loaded)
        if own is not None:
            made[index] = own
            taken.update(name for one in own for name in one.names if name)
    named = [one for index in sorted(made) for one in made[index]]
    demands = [place for place, entry in entries if entry.acme is not None and entry.acme.on_demand is not None]
    for place in demands[1:]:
        report.error(
            (*place, "acme", "on_demand"), "only one entry of a list can have 'on_demand': the first gets all names"
        )
        return None
    found = combine(report, CERTIFICATES.of(compilation.context), named)
    keys = {one.loaded.settings: key_of(one.path) for one in named}
    if not named or len(made) < len(entries):
        return None
    if demands:
        from npserver.tls.acme.on_demand.compile import ENTRIES
        from npserver.tls.acme.on_demand.server_tls import OnDemandTls

        (place,) = demands
        entry_on_demand = ENTRIES.of(compilation)[key_of((*place, "acme", "on_demand"))]
        template = next(one.loaded.settings for one in named if one.path == place)
        server_tls: ServerTls = OnDemandTls(found, keys, compilation.context, entry_on_demand, template)
    else:
        server_tls = ServerTls(found, keys)
    server_tls.on_failure = LEARNING.of(compilation).hook("tls")
    return server_tls


def client_context(compilation: Compilation, path: Path, tls: UpstreamTls) -> ssl.SSLContext | None:
    """Return the SSL context for https and ssl targets; None, with errors in the report, if it cannot be made."""
    report = compilation.report
    files = {"ca": tls.ca, "cert": tls.cert, "key": tls.key, "key_passphrase": tls.key_passphrase}
    found = {name: named_file(compilation, (*path, name), file) for name, file in files.items() if file is not None}
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
    from npserver.tls.internal import internal_file, name_groups
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
    for group, with_machine in name_groups(names, of_machine=of_machine):
        file = internal_file(compilation, path, Wanted(tuple(group), with_machine, entry.internal_life))
        loaded = None if file is None else _load(compilation, path, entry, (file, file), speaks_http=speaks_http)
        if loaded is None:
            return None
        STATES.of(compilation).loaded[loaded.settings.cert] = ("internal", loaded)
        # A client that asks for an IP address sends no server name
        has_address = with_machine or any(map(is_ip_address, group))
        served = [*(loaded.certificate.names if with_machine else group), *([""] if has_address else [])]
        found.append(NamedCertificate(path, "the local authority's", loaded, list(dict.fromkeys(served))))
    if not found:
        report.warn(path, "'internal' has no effect: other certificates have the hosts of all rules")
    return found


def _acme(
    compilation: Compilation,
    path: Path,
    entry: Tls,
    rest: Sequence[str],
    hosts: Sequence[str],
    *,
    speaks_http: bool,
    with_local: bool,
) -> list[NamedCertificate] | None:
    """Return the certificates of a CA for an entry: one for each name that no wildcard among them covers.

    `rest` are the hosts of rules that no other entry has, of all `hosts`. `with_local`: those of them that no public CA
    certifies have certificates of the local authority, else another entry has them.
    """
    from npserver.tls.acme.compile import acme_files

    for key in ("cert", "key", "key_passphrase", "internal"):
        if getattr(entry, key):
            compilation.report.error((*path, key), f"'{key}' has no effect with 'acme': leave one of them out")
            return None
    assert entry.acme is not None
    local: list[NamedCertificate] = []
    if entry.names:
        names = [normal_name(name) for name in _names(compilation.report, path, entry)]
    else:
        names = [host for host in rest if host]
        of_authority = [name for name in names if is_local_name(name)] if entry.acme.is_public else []
        if of_authority:
            names = [name for name in names if not is_local_name(name)]
        if of_authority and with_local:
            made = _internal(
                compilation, path, replace(entry, acme=None, internal=True), of_authority, speaks_http=speaks_http
            )
            if made is None:
                return None
            local = made
        if not names and entry.acme.on_demand is None and any(hosts):
            why = "other certificates have the hosts of all rules"
            if local:
                why = (
                    f"no public CA certifies {clip(of_authority[0])}, which has a certificate of the local authority; "
                    'write "internal" for it, or give a rule another host'
                )
            compilation.report.warn(path, f"'acme' has no effect: {why}")
            return local
    ca = ""
    if entry.acme.ca is not None:
        file = named_file(compilation, (*path, "acme", "ca"), entry.acme.ca)
        if file is None:
            return None
        ca = CERTIFICATES.of(compilation.context).files.read(file).decode("ascii", "replace")
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=ca)
        except (ssl.SSLError, ValueError):
            compilation.report.error((*path, "acme", "ca"), f"{clip(entry.acme.ca)} holds no certificate in PEM")
            return None
    files = acme_files(compilation, path, entry.acme, names, ca, of_hosts=not entry.names)
    if files == []:  # all are ordered on demand: the first needs a certificate for clients without one
        stand_in = _stand_in(compilation, path, entry, speaks_http=speaks_http)
        return None if stand_in is None else [*stand_in, *local]
    found = []
    for group, file in files or ():
        loaded = _load(compilation, path, entry, (file, file), speaks_http=speaks_http)
        if loaded is None:
            return None
        served = [*group, *([""] if any(map(is_ip_address, group)) else [])]
        found.append(NamedCertificate(path, f"the CA's for {', '.join(group)}", loaded, served))
    return [*found, *local] if found else None


def _stand_in(compilation: Compilation, path: Path, entry: Tls, *, speaks_http: bool) -> list[NamedCertificate] | None:
    """Return a certificate of the local authority for an entry without names of its own. It is for none: clients whose
    name has no certificate get it.
    """
    from npserver.tls.acme.compile import default_file

    file = default_file(compilation, path)
    loaded = None if file is None else _load(compilation, path, entry, (file, file), speaks_http=speaks_http)
    return None if loaded is None else [NamedCertificate(path, "the local authority's", loaded, [])]


def _turn(entry: Tls) -> int:
    """Return when an entry is compiled: those that take the hosts which no other entry has come last."""
    if entry.names or (entry.acme is None and not entry.internal):
        return 0
    return 1 if entry.acme is not None else 2


def _files(compilation: Compilation, path: Path, entry: Tls) -> tuple[str, str] | None:
    """Return the files of a certificate and its key; None, with errors in the report, if one is missing."""
    if entry.cert is None or entry.key is None:
        missing = [f'"{name}"' for name in ("cert", "key") if getattr(entry, name) is None]
        hint = ', or "internal": true' if len(missing) == 2 else ""
        compilation.report.error(path, f"'tls' needs {' and '.join(missing)}{hint}")
        return None
    cert = named_file(compilation, (*path, "cert"), entry.cert)
    key = named_file(compilation, (*path, "key"), entry.key)
    return None if cert is None or key is None else (cert, key)


def _load(
    compilation: Compilation, path: Path, entry: Tls, pair: tuple[str, str] | None, *, speaks_http: bool
) -> LoadedCertificate | None:
    """Load one certificate from the files of it and of its key."""
    report = compilation.report
    cert, key = pair or (None, None)
    named = {"client_ca": entry.client_ca, "key_passphrase": entry.key_passphrase}
    wanted = {name: file for name, file in named.items() if file is not None}
    found = {name: named_file(compilation, (*path, name), file) for name, file in wanted.items()}
    files = {name: file for name, file in found.items() if file is not None}
    crls = {file: place for place, file in revocation_files(compilation, path, entry)}
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
    except (OSError, ValueError) as error:
        place, file = _faulty(error, path, entry, crls)
        report.error(place, f"{clip(file or cert)} cannot be used: {explain(error)}")
        return None
    if loaded.fault is not None:
        place, file = _faulty(loaded.fault, path, entry, crls)
        reason = f"{clip(file or cert)} changed and cannot be used, what was loaded before stays"
        report.check_error(place, f"{reason}: {loaded.problem}")
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


def _faulty(
    error: OSError | ValueError, path: Path, entry: Tls | UpstreamTls, crls: dict[str | None, Path]
) -> tuple[Path, str | None]:
    """Return the place in the config of the file that `error` is about, and the file as it stands there."""
    if isinstance(error, RevocationError):
        return crls[error.file], os.path.basename(error.file)
    name = "key"
    if isinstance(error, CertificateError):
        name = "cert"
    elif isinstance(error, PassphraseError) and error.is_given:
        name = "key_passphrase"
    elif _is_about_authorities(error):
        name = "client_ca"
    return (*path, name), getattr(entry, name)


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
        if (entry.internal or entry.acme is not None) and is_ip_address(text):
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
