"""Compiling a config without serving it: proves that it can be used, and says what to bind."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from npserver.process.data_plane import make_context
from npserver.program.compile import compile_config
from npserver.runtime.bulletin import Bulletin
from npserver.runtime.scoreboard import Directory, Scoreboard
from npserver.tls.certificates import keep_store

if TYPE_CHECKING:
    from npserver.config.document import Document
    from npserver.program.runtime import Runtime
    from npserver.tls.certificates import CertificateStore


def dry_run(document: Document, directory: Directory, certificates: CertificateStore | None = None) -> Runtime:
    """Compile `document`, give what came out of it, already closed.

    Slot numbers go into `directory`, as every process will give them out that compiles the same config; certificates
    into `certificates`, which processes forked later take along.

    Raises: ConfigError.
    """
    logging = msgspec.structs.replace(document.config.logging, access_log="off")
    quiet = msgspec.structs.replace(document, config=msgspec.structs.replace(document.config, logging=logging))
    board = Scoreboard(0, b"dry run")
    board.directory = directory
    loop = asyncio.new_event_loop()  # never run
    try:
        context = make_context(loop, -1, board, Bulletin(), quiet)
        if certificates is not None:
            keep_store(context, certificates)
        runtime = compile_config(document, context)
        runtime.close()
        context.sweeper.close()
        context.access_log.close()
    finally:
        loop.close()
    return runtime
