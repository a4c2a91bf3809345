"""Compile a config without serving it: `npserver check` does only that, start-up and reload do it first."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from npserver.process.data_plane import make_context
from npserver.process.limits import check_descriptors
from npserver.process.live_state import apply
from npserver.program.compile import compile_config
from npserver.runtime.compilation import MAY_WRITE, READS_LARGE_DATA, Compilation
from npserver.runtime.pubsub import PubSub
from npserver.runtime.scoreboard import Directory, Scoreboard
from npserver.sources.source import SUPPLIED
from npserver.tls.store import CERTIFICATES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from npserver.config.document import Document
    from npserver.process.live_state import LiveState
    from npserver.program.runtime import Runtime
    from npserver.tls.store import CertificateStore


def dry_run(
    document: Document,
    directory: Directory,
    certificates: CertificateStore | None = None,
    *,
    reads_large_data: bool = True,
) -> Runtime:
    """Compile `document` and return the result, already closed: its listeners, warnings and summary can be used.

    Scoreboard slots are allocated in `directory`: every process that compiles the same config allocates the same
    ones. Certificates are loaded into `certificates`, which processes forked later inherit; without it nothing is
    written to the store, and with `reads_large_data` even block lists are read.

    Raises: ConfigError.
    """
    with compiling(document, directory, certificates, reads_large_data=reads_large_data) as (_, runtime):
        return runtime


@contextmanager
def compiling(
    document: Document,
    directory: Directory | None = None,
    certificates: CertificateStore | None = None,
    *,
    reads_large_data: bool = True,
    live: LiveState | None = None,
) -> Iterator[tuple[Compilation, Runtime]]:
    """Do the same, and give the result with what its compilers have shared: it is closed afterwards.

    `live`: the state of a server that it is to be as if it had.

    Raises: ConfigError.
    """
    logging = msgspec.structs.replace(document.config.logging, access_log="off", query_log="off")
    quiet = msgspec.structs.replace(document, config=msgspec.structs.replace(document.config, logging=logging))
    board = Scoreboard(0, b"dry run", rate_limit_keys=1)
    if directory is not None:
        board.directory = directory
    loop = asyncio.new_event_loop()  # never run
    try:
        pubsub = PubSub()
        if live is not None:
            apply(live, board, pubsub)
        context = make_context(loop, -1, board, pubsub, quiet)
        if certificates is not None:
            CERTIFICATES.put(context, certificates)
            SUPPLIED.put(context, certificates.files)
        else:
            MAY_WRITE.put(context, value=False)
            READS_LARGE_DATA.put(context, value=reads_large_data)
        compilation = Compilation(document, context)
        runtime = compile_config(document, context, compilation)
        try:
            check_descriptors(document, runtime.listeners)
            yield compilation, runtime
        finally:
            runtime.close()
            context.sweeper.close()
            context.access_log.close()
    finally:
        loop.close()
        board.shared_file.close()  # the board is freed late, as it is part of a cycle
