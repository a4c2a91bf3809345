"""Compiles `acme` entries of `tls`: which certificates are wanted, and a stand-in for each that is not there yet.

A name has a certificate of its own, so that one that cannot be certified keeps no other from it. Names below a wildcard
of the same entry have the wildcard's. Until the CA has issued it, the local authority has: nothing waits for a CA.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

from npserver.config.report import key_of
from npserver.errors import NpserverError, clip, reason_of
from npserver.runtime.compilation import MAY_WRITE, PerCompilation
from npserver.store.compile import STORE
from npserver.store.directory import finish
from npserver.tls.acme.challenges import is_address
from npserver.tls.acme.config import LETS_ENCRYPT
from npserver.tls.acme.reach import REACH
from npserver.tls.acme.service import AcmeService, Order
from npserver.tls.acme.settings import AcmeSettings, KeyType
from npserver.tls.acme.state import Wanted
from npserver.tls.internal import INLINE
from npserver.tls.local_authority import LocalAuthority
from npserver.tls.local_authority import Wanted as LocalWanted
from npserver.tls.local_names import is_local_name
from npserver.tls.store import CERTIFICATES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from npserver.config.report import Path, Report
    from npserver.runtime.compilation import Compilation
    from npserver.tls.acme.config import Acme
    from npserver.tls.acme.reach import Reach

STAND_IN_S = 90 * 86400.0  # life of the certificate that is used until the CA has issued one


def acme_files(
    compilation: Compilation, path: Path, acme: Acme, names: Sequence[str], ca: str, *, of_hosts: bool
) -> list[tuple[str, str]] | None:
    """Return a name and its file for each certificate; None, with errors in the report, if there can be none.

    `ca`: the content of that file. `of_hosts`: the names are the hosts of rules. Those that no public CA certifies are
    left out then.
    """
    report = compilation.report
    store = STORE.of(compilation)
    directories = [acme.directory] if isinstance(acme.directory, str) else list(acme.directory)
    is_public = directories == [LETS_ENCRYPT]
    if of_hosts and is_public:
        names = [name for name in names if not is_local_name(name)]
    if not names:
        report.error(path, "'acme' finds no names: give a rule a 'host', or write 'names'")
        return None
    reach, kinds = REACH.of(compilation), {}
    for name in names:
        if is_public and is_local_name(name):
            report.error(path, f'no public CA certifies {clip(name)}: use "internal" for it')
            continue
        kinds[name] = reach.kinds(name, acme.challenge)
        if not kinds[name]:
            report.error((*path, "acme"), f"no challenge can work for {clip(name)}: {_why(reach, name, acme)}")
    settings = _settings(report, (*path, "acme"), acme, directories, ca)
    if store is None or settings is None or not all(kinds.get(name) for name in names):
        return None
    orders, found = _ORDERS.of(compilation), []
    for name in _certified(names):
        wanted = Wanted(name.replace("*", "_"), (name,), key_of((*path, "acme")))
        file = _file(compilation, path, wanted)
        if file is None:
            return None
        if wanted.name not in orders:
            if not orders:
                compilation.services.append(AcmeService(compilation.context, store, orders))
            orders[wanted.name] = Order(wanted, settings, tuple(kinds[name]))
        found.append((name, file))
    return found


def _certified(names: Sequence[str]) -> list[str]:
    """Return the names without those below a wildcard among them."""
    return [name for name in names if is_address(name) or f"*.{name.partition('.')[2]}" not in names or name[:1] == "*"]


def _settings(
    report: Report, path: Path, acme: Acme, directories: list[str], ca: str
) -> tuple[AcmeSettings, ...] | None:
    """Return the settings of each CA; None, with errors in the report, if they are wrong."""
    if not _check(report, path, acme, directories):
        return None
    return tuple(
        AcmeSettings(
            directory=one, email=acme.email, eab_key_id=acme.eab_key_id, eab_key=acme.eab_key, profile=acme.profile,
            key_type=KeyType(acme.key_type), ca=ca,
        )
        for one in directories
    )  # fmt: skip


def _check(report: Report, path: Path, acme: Acme, directories: list[str]) -> bool:
    is_good = True
    for index, one in enumerate(directories):
        if not one.startswith("https://"):
            where = (*path, "directory", index) if isinstance(acme.directory, list) else (*path, "directory")
            report.error(where, f"'directory': expected an https URL, got {clip(one)}")
            is_good = False
    if not directories:
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
    return is_good


def _why(reach: Reach, name: str, acme: Acme) -> str:
    """Return why no challenge can work for a name, and what to do."""
    if acme.challenge:
        return f"'challenge' allows {', '.join(acme.challenge)} only, which this kind of name does not"
    if name.startswith("*."):
        return "a wildcard needs the challenge dns, and the name is in no zone of 'dns' or 'dns_zones'"
    missing = [] if reach.has_http else ["no http listener on port 80"]
    missing += [] if reach.has_tls else ["no https listener on port 443"]
    return (
        f"there is {' and '.join(missing)}, and the name is in no zone of 'dns'; if these ports are forwarded here, "
        'write "challenge": ["http"] or ["tls-alpn"]'
    )


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
        value = finish(inline.get(wanted.certificate_key))
        if value is None:
            finish(LocalAuthority(inline, in_threads=False).ensure(local, context.wall_clock()))
            value = finish(inline.get(local.key)) or b""
            finish(inline.compare_and_swap(wanted.certificate_key, None, value))
            finish(inline.delete(wanted.state_key))
        if not MAY_WRITE.of(context):
            files.supply({file: ((0, 0, len(value)), b64encode(value).decode())})
    except (NpserverError, ValueError) as error:
        compilation.report.error(path, reason_of(error))
        return None
    return file


#: What is wanted of CAs by the config, by the names in the store.
_ORDERS: PerCompilation[dict[str, Order]] = PerCompilation(lambda _: {})
