"""Compiles `internal` entries of `tls`: finds or makes their certificates in the store, and has them renewed.

In a check nothing is written: what is not in the store is made in memory and forgotten.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

from npserver.errors import NpserverError, reason_of
from npserver.runtime.compilation import MAY_WRITE, PerCompilation
from npserver.store.compile import STORE
from npserver.store.directory import DirectoryStore, finish
from npserver.store.trial import TrialStore
from npserver.tls.local_authority import LocalAuthority, Wanted
from npserver.tls.renewal import LocalRenewal
from npserver.tls.store import CERTIFICATES

if TYPE_CHECKING:
    from npserver.config.report import Path
    from npserver.runtime.compilation import Compilation
    from npserver.store.interface import Store


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
            files.supply({file: ((0, 0, len(value)), b64encode(value).decode())})
    except (NpserverError, ValueError) as error:
        report.error(path, reason_of(error))
        return None
    renewed = _RENEWED.of(compilation)
    if not renewed:
        compilation.services.append(LocalRenewal(context, LocalAuthority(store), renewed))
    renewed[wanted.key] = wanted
    return file


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
