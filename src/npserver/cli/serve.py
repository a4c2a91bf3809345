"""`npserver URI... [options]` and `npserver -config FILE`: combine config file and command line, and serve."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from npserver import __version__
from npserver.cli.arguments import HELP, Arguments, UsageError, parse_arguments

if TYPE_CHECKING:
    from npserver.config.document import Document

DEFAULT_CONFIG = "config.json"


def main(words: list[str]) -> int:
    """Serve until told to stop. Return the exit status. Raises: ConfigError, StartError."""
    try:
        arguments = parse_arguments(words)
        if arguments.version:
            print(f"npserver {__version__}")
            return 0
        if arguments.help:
            print(HELP, end="")
            return 0
        if arguments.config is None and not arguments.listeners:
            if not os.path.exists(DEFAULT_CONFIG):
                raise UsageError(f"nothing to serve: give a URI or -config FILE (no {DEFAULT_CONFIG} found)")
            arguments.config = DEFAULT_CONFIG
        return _serve(arguments)
    except UsageError as error:
        print(f"npserver: {error}", file=sys.stderr)
        if not words:
            print(HELP, end="", file=sys.stderr)
        return 2


def _serve(arguments: Arguments) -> int:
    from npserver.cli.banner import print_banner
    from npserver.observe import logs
    from npserver.process.config_source import ConfigSource
    from npserver.process.limits import raise_descriptor_limit, usable_cpus
    from npserver.process.options import RunOptions

    source = ConfigSource(arguments.config or "", lambda document: amend(document, arguments))
    document = source.document(source.read())
    raise_descriptor_limit()
    logs.configure(document.config.logging)
    logs.log_stray_exceptions()
    workers = document.config.workers
    workers = usable_cpus() if workers is None else workers
    options = RunOptions(
        source, document, workers, arguments.watch,
        lambda runtime, bindings: print_banner(runtime, bindings, workers),
    )  # fmt: skip
    with _pidfile(arguments.pidfile):
        if workers == 0:
            from npserver.process.single_process import run_single_process

            return run_single_process(options)
        from npserver.process.master import Master

        return Master(options).run()


def amend(document: Document, arguments: Arguments) -> Document:
    """Apply the command line to a config: its listeners and rules are added, its settings override the file's."""
    from npserver.cli.overrides import from_arguments

    def resolve(name: str | None) -> str | None:
        """Resolve a file name against the working directory, not against the config file's directory."""
        return os.path.abspath(name) if name and arguments.config else name

    return from_arguments(
        [(listener.uri, listener.targets) for listener in arguments.listeners],
        cert=resolve(arguments.cert),
        key=resolve(arguments.key),
        acme=arguments.acme,
        hosts=arguments.hosts,
        root=resolve(arguments.root),
        php=arguments.php,
        backlog=arguments.backlog,
        workers=arguments.workers,
        base=document,
    )


@contextlib.contextmanager
def _pidfile(path: str | None) -> Iterator[None]:
    """Write the process id to a file, and remove the file at the end. Raises: StartError."""
    from npserver.errors import StartError

    if path is None:
        yield
        return
    mine = f"{os.getpid()}\n"
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(mine)
    except OSError as error:
        raise StartError(f"-pidfile {path}: {error.strerror}: name a file that npserver can write") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            with open(path, encoding="ascii") as file:
                is_mine = file.read() == mine
            if is_mine:
                os.unlink(path)
