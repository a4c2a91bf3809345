"""Compiles `internal` entries of `tls`: finds or makes their certificates in the store, and has them renewed.

In a check nothing is written: what is not in the store is made in memory and forgotten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.errors import NpserverError, reason_of
from npserver.runtime.compilation import MAY_WRITE, PerCompilation
from npserver.store.compile import STORE
from npserver.store.directory import DirectoryStore, finish
from npserver.store.trial import TrialStore
from npserver.tls.local_authority import LocalAuthority, Wanted
from npserver.tls.local_names import is_local_name
from npserver.tls.renewal import LocalRenewal
from npserver.tls.states import STATES
from npserver.tls.store import CERTIFICATES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from npserver.config.report import Path
    from npserver.runtime.compilation import Compilation
    from npserver.store.interface import Store

MAX_NAMES = 100  # in a certificate: clients read the whole certificate at each full handshake


def internal_file(compilation: Compilation, path: Path, wanted: Wanted) -> str | None:
    """Return the file with the certificate and its key; None, with errors in the report, if there can be none."""
    store, inline = STORE.of(compilation), INLINE.of(compilation)
    if store is None or inline is None:
        return None
    context, report = compilation.context, compilation.report
    files = CERTIFICATES.of(context).files
    files.add_store(store.files.directory, store.files.read)
    file = store.files.path(wanted.key)
    try:
        if fault := finish(LocalAuthority(inline, in_threads=False).ensure(wanted, context.wall_clock())):
            report.check_error(path, fault)
        if not MAY_WRITE.of(context):
            value = finish(inline.get(wanted.key)) or b""
            files.put(file, value)
    except (NpserverError, ValueError) as error:
        report.error(path, reason_of(error))
        return None
    renewed = _RENEWED.of(compilation)
    if not renewed:
        compilation.services.append(LocalRenewal(context, LocalAuthority(store), renewed, STATES.of(compilation)))
    renewed[wanted.key] = wanted
    STATES.of(compilation).awaited.add(file)
    return file


def name_groups(names: Sequence[str], *, of_machine: bool) -> Iterator[tuple[list[str], bool]]:
    """Yield the names of each certificate, and whether it is for this machine too: local names have their own."""
    local = [name for name in names if is_local_name(name)]
    known = set(local)
    others = [name for name in names if name not in known]
    for group in (local, others):
        for start in range(0, max(len(group), of_machine), MAX_NAMES):
            yield group[start : start + MAX_NAMES], of_machine
            of_machine = False


def _inline(compilation: Compilation) -> Store | None:
    """Return the store for use without an event loop."""
    store = STORE.of(compilation)
    if store is None:
        return None
    may_write = MAY_WRITE.of(compilation.context)
    return DirectoryStore(store.files, in_threads=False) if may_write else TrialStore(store.files)


#: The store for use without an event loop.
INLINE: PerCompilation[Store | None] = PerCompilation(_inline)
#: The certificates of the config, by their keys in the store.
_RENEWED: PerCompilation[dict[str, Wanted]] = PerCompilation(lambda _: {})
