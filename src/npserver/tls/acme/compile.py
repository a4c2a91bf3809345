"""Compiles `acme` entries of `tls`: which certificates are wanted, and a stand-in for each that is not there yet.

A name has a certificate of its own, so that one that cannot be certified keeps no other from it. Names below a wildcard
of the same entry have the wildcard's, and addresses share one. Until the CA has issued it, the local authority has:
nothing waits for a CA.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from npserver.config.document import COMMAND_LINE
from npserver.config.report import key_of, placed
from npserver.dns.message.name import parse_owner
from npserver.errors import NpserverError, clip, reason_of
from npserver.networks import is_ip_address
from npserver.runtime.compilation import MAY_WRITE, PerCompilation
from npserver.store.compile import STORE
from npserver.store.directory import finish
from npserver.tls.acme.caa import CERTIFIED
from npserver.tls.acme.challenges import ChallengeKind
from npserver.tls.acme.config import LETS_ENCRYPT
from npserver.tls.acme.dns.compile import compile_places, outside_message
from npserver.tls.acme.dns.zone_use import note_zones
from npserver.tls.acme.on_demand.compile import ENTRIES, compile_on_demand
from npserver.tls.acme.reach import REACH
from npserver.tls.acme.service import AcmeService, Order
from npserver.tls.acme.settings import AcmeSettings, KeyType, is_mac_key
from npserver.tls.acme.state import Wanted
from npserver.tls.files import TlsFiles
from npserver.tls.internal import INLINE
from npserver.tls.local_authority import LocalAuthority
from npserver.tls.local_authority import Wanted as LocalWanted
from npserver.tls.local_names import is_local_name
from npserver.tls.states import STATES
from npserver.tls.store import CERTIFICATES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from npserver.config.report import Path, Report
    from npserver.runtime.compilation import Compilation
    from npserver.tls.acme.config import Acme
    from npserver.tls.acme.dns.places import Places
    from npserver.tls.acme.reach import Reach

NOT_OURS = (
    "the name is in no zone of 'dns' or 'dns_zones': write 'dns_alias' if one of them can answer for it, or "
    "'dns_update' if another server takes updates"
)
IN_A_FILE = " (in a config file, which -config names: the command line has no option for it)"
MAX_STORED = 150  # characters of the names of a certificate, joined, as its name in the store
DEFAULT_NAME = "default.internal"  # in the certificate of a listener that has no other; it tells nothing of the machine
STAND_IN_S = 90 * 86400.0  # life of the certificate that is used until the CA has issued one


def acme_files(
    compilation: Compilation, path: Path, acme: Acme, names: Sequence[str], ca: str, *, of_hosts: bool
) -> list[tuple[tuple[str, ...], str]] | None:
    """Return the names and the file of each certificate; None, with errors in the report, if there can be none.

    `ca`: the content of that file. `of_hosts`: the names are the hosts of rules.
    """
    report = compilation.report
    store = STORE.of(compilation)
    reach = REACH.of(compilation)
    find = compile_places(compilation, (*path, "acme"), acme, reach.zones)
    if of_hosts and acme.on_demand is not None:  # names below a wildcard that cannot be ordered get theirs on demand
        names = [one for one in names if one[:1] != "*" or (find and reach.kinds(one, acme.challenge, find(one)))]
    if not names and acme.on_demand is None:
        report.error(path, "'acme' finds no names: give a rule a 'host', or write 'names'")
        return None
    ways = _ways(compilation, path, acme, names, find)
    settings = _settings(report, (*path, "acme"), acme, ca)
    demand = compile_on_demand(compilation, (*path, "acme"), acme, settings or (), find) if find is not None else None
    if store is None or settings is None or find is None or not all(name in ways for name in names):
        return None
    note_zones(compilation, (*path, "acme"), acme, [(name, ways[name][1]) for name in names])
    _check_profile(report, (*path, "acme"), acme, names)
    if acme.on_demand is not None:
        if demand is None:
            return None
        _SERVICE.of(compilation)
    orders, found = _ORDERS.of(compilation), []
    for group in _certified(names):
        wanted = Wanted(_stored_name(group), group, key_of((*path, "acme")))
        file = _file(compilation, path, wanted)
        if file is None:
            return None
        if wanted.name not in orders:
            _SERVICE.of(compilation)
            STATES.of(compilation).awaited.add(wanted.name)
            orders[wanted.name] = Order(wanted, settings, *ways[group[0]])
        CERTIFIED.of(compilation).update(dict.fromkeys(group, acme.directories))
        found.append((group, file))
    return found


def _ways(
    compilation: Compilation,
    path: Path,
    acme: Acme,
    names: Sequence[str],
    find: Callable[[str], Places] | None,
) -> dict[str, tuple[tuple[ChallengeKind, ...], Places]]:
    """Return the challenges that can work for each name, and the places of its TXT record.

    Names for which nothing can work are left out, with errors in the report; all, if `find` is None.
    """
    report, reach, found = compilation.report, REACH.of(compilation), {}
    in_a_file = IN_A_FILE if report.document.origin(path) == COMMAND_LINE else ""
    for name in names:
        if acme.is_public and is_local_name(name):
            report.error(path, f'no public CA certifies {clip(name)}: use "internal" for it{in_a_file}')
            continue
        try:
            if not is_ip_address(name):
                parse_owner(name)
        except ValueError as error:
            report.error(path, str(error))
            continue
        if find is None:
            continue
        places = find(name)
        kinds = reach.kinds(name, acme.challenge, places)
        if places.outside and (not acme.challenge or "dns" in acme.challenge):
            report.warn((*path, "acme"), outside_message(places, reach.zones))
        if kinds:
            found[name] = tuple(kinds), places
        else:
            why = _why(reach, places, name, acme)
            report.error((*path, "acme"), f"no challenge can work for {clip(name)}: {why}{in_a_file}")
    return found


def _certified(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the names of each certificate: those below a wildcard among them are left out, and addresses share one.

    A client that asks for an address sends no server name: which of several certificates it needs cannot be known.
    """
    addresses = sorted({name for name in names if is_ip_address(name)})
    hosts = [name for name in names if name not in addresses]
    found: list[tuple[str, ...]] = [
        (name,) for name in hosts if name[:1] == "*" or f"*.{name.partition('.')[2]}" not in hosts
    ]
    return [*found, tuple(addresses)] if addresses else found


def _stored_name(names: tuple[str, ...]) -> str:
    """Return the name in the store: another one for other addresses, as the certificate is another one."""
    name = "+".join(names).replace("*", "_")
    return name if len(name) <= MAX_STORED else f"{names[0]}+{sha256(name.encode()).hexdigest()[:32]}"


def _settings(report: Report, path: Path, acme: Acme, ca: str) -> tuple[AcmeSettings, ...] | None:
    """Return the settings of each CA; None, with errors in the report, if they are wrong."""
    if not _check(report, path, acme):
        return None
    return tuple(
        AcmeSettings(
            directory=one, email=acme.email, eab_key_id=acme.eab_key_id, eab_key=acme.eab_key, profile=acme.profile,
            key_type=KeyType(acme.key_type), ca=ca,
        )
        for one in acme.directories
    )  # fmt: skip


def _check(report: Report, path: Path, acme: Acme) -> bool:
    is_good = True
    for where, one in placed((*path, "directory"), acme.directory):
        if not one.startswith("https://"):
            report.error(where, f"'directory': expected an https URL, got {clip(one)}")
            is_good = False
    if not acme.directories:
        report.error((*path, "directory"), "'directory' names no CA: leave it out for Let's Encrypt")
        is_good = False
    if acme.email and "@" not in acme.email:
        report.error(
            (*path, "email"), f"'email': expected an address such as \"me@example.com\", got {clip(acme.email)}"
        )
        is_good = False
    if bool(acme.eab_key_id) != bool(acme.eab_key):
        missing = "eab_key" if acme.eab_key_id else "eab_key_id"
        report.error(path, f"an external account needs '{missing}' as well")
        is_good = False
    elif acme.eab_key and not is_mac_key(acme.eab_key):
        report.error((*path, "eab_key"), "'eab_key': expected base64url (letters, digits, - and _), as the CA shows it")
        is_good = False
    return is_good


def _check_profile(report: Report, path: Path, acme: Acme, names: Sequence[str]) -> None:
    """Warn of addresses for which Let's Encrypt needs a profile."""
    address = next(filter(is_ip_address, names), "")
    if address and not acme.profile and LETS_ENCRYPT in acme.directories:
        what = "Let's Encrypt certifies an IP address with a profile for it only"
        report.warn(path, f'{what}: write "profile": "shortlived" for {clip(address)}')


def _why(reach: Reach, places: Places, name: str, acme: Acme) -> str:
    """Return why no challenge can work for a name, and what to do."""
    not_ours = outside_message(places, reach.zones) if places.outside else NOT_OURS
    if acme.dns_update is not None and not places.outside:
        zones = ", ".join(clip(text) for _, text in placed((), acme.dns_update.zone))
        not_ours = f"the name is neither in 'dns_update.zone' ({zones}) nor in a zone of 'dns' or 'dns_zones'"
    allowed = f"'challenge' allows {', '.join(acme.challenge)} only"
    if acme.challenge and is_ip_address(name):
        return f'{allowed}, which cannot certify an IP address: add "http" or "tls-alpn" to it, or leave it out'
    if "dns" in acme.challenge:
        return f"{allowed}, and {not_ours}"
    if acme.challenge:
        return f'{allowed}, but a wildcard needs dns: add "dns" to it, or leave it out'
    if name.startswith("*."):
        return f"a wildcard needs the challenge dns, and {not_ours}"
    missing = [] if reach.has_http else ["no http listener on port 80"]
    missing += [] if reach.has_tls else ["no https listener on port 443"]
    if is_ip_address(name):
        not_ours = "an IP address needs one of them"
    elif acme.dns_update is None:
        not_ours = "the name is in no zone of 'dns'"
    return (
        f"there is {' and '.join(missing)}, and {not_ours}; if these ports are forwarded here, "
        'write "challenge": ["http"] or ["tls-alpn"]'
    )


def default_file(compilation: Compilation, path: Path) -> str | None:
    """Return the file of a certificate that no CA issues, for a listener all of whose names are ordered on demand."""
    return _file(compilation, path, Wanted(DEFAULT_NAME, (DEFAULT_NAME,), key_of((*path, "acme", "on_demand"))))


def _file(compilation: Compilation, path: Path, wanted: Wanted) -> str | None:
    """Return the file of a certificate, with a stand-in if it was not issued yet."""
    store, inline = STORE.of(compilation), INLINE.of(compilation)
    if store is None or inline is None:
        return None
    context = compilation.context
    files = CERTIFICATES.of(context).files
    files.add_store(store.files.directory, store.files.read)
    file = store.files.path(wanted.certificate_key)
    local = LocalWanted(wanted.names, False, STAND_IN_S)
    try:
        before = value = finish(inline.get(wanted.certificate_key))
        if before is not None and not is_usable(before):
            names = clip(", ".join(wanted.names))
            compilation.report.warn(path, f"the stored certificate for {names} is damaged: another one is ordered")
            value = None
        if value is None:
            finish(LocalAuthority(inline, in_threads=False).ensure(local, context.wall_clock()))
            value = finish(inline.get(local.key)) or b""
            finish(inline.delete(wanted.state_key))  # first: a process that dies here does both again
            finish(inline.compare_and_swap(wanted.certificate_key, before, value))
        if not MAY_WRITE.of(context):
            files.put(file, value)
    except (NpserverError, ValueError) as error:
        compilation.report.error(path, reason_of(error))
        return None
    return file


def is_usable(value: bytes) -> bool:
    """Whether a stored value is a certificate with its key."""
    import ssl  # only where it is used: a start is shorter without

    files = TlsFiles()
    files.put("", value)
    try:
        with files.readable("") as path:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path, None, lambda: b"")
    except (OSError, ValueError):
        return False
    return True


def _service(compilation: Compilation) -> AcmeService:
    """Return the service that keeps all certificates, which the controller will run."""
    store = STORE.of(compilation)
    assert store is not None
    orders, entries, states = _ORDERS.of(compilation), ENTRIES.of(compilation), STATES.of(compilation)
    made = AcmeService(compilation.context, store, orders, entries, states)
    compilation.services.append(made)
    return made


#: What is wanted of CAs by the config, by the names in the store.
_ORDERS: PerCompilation[dict[str, Order]] = PerCompilation(lambda _: {})
_SERVICE: PerCompilation[AcmeService] = PerCompilation(_service)
