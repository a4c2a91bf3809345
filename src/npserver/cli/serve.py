"""`npserver URI... [options]` and `npserver -config FILE`: combine config file and command line, and serve."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from npserver import __version__
from npserver.cli.arguments import DEFAULT_CONFIG, HELP, Arguments, UsageError, parse_arguments

if TYPE_CHECKING:
    from npserver.config.document import Document
    from npserver.listen.binding import Binding
    from npserver.process.upgrade.predecessor import Predecessor
    from npserver.program.runtime import Runtime


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
    from npserver.process.upgrade.predecessor import find_predecessor, telling_failure

    predecessor = find_predecessor()
    with telling_failure(predecessor):
        return _run(arguments, predecessor)


def _run(arguments: Arguments, predecessor: Predecessor | None) -> int:
    from npserver.cli.banner import print_banner
    from npserver.errors import StartError
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
    pidfile = PidFile(arguments.pidfile)

    def announce(runtime: Runtime, bindings: dict[str, Binding]) -> None:
        if predecessor is not None:
            pidfile.take_over()
        print_banner(runtime, bindings, workers)

    options = RunOptions(source, document, workers, arguments.watch, announce, predecessor)
    with pidfile.written(at_once=predecessor is None):
        if workers == 0:
            if predecessor is not None:
                raise StartError(f"{document.place(('workers',))}: an upgrade needs workers: restart npserver instead")
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


class PidFile:
    """The file that `-pidfile` names, if it is given: it contains the process id while this program runs."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._mine = f"{os.getpid()}\n"

    @contextlib.contextmanager
    def written(self, *, at_once: bool) -> Iterator[None]:
        """Write the process id, unless it is `take_over` that does, and remove the file at the end if it still has it.

        Raises: StartError.
        """
        from npserver.errors import StartError

        if at_once and self._path is not None:
            try:
                self._write(self._path)
            except OSError as error:
                message = f"-pidfile {self._path}: {error.strerror}: name a file that npserver can write"
                raise StartError(message) from error
        try:
            yield
        finally:
            if self._path is not None:
                with contextlib.suppress(OSError):
                    with open(self._path, encoding="ascii") as file:
                        is_mine = file.read() == self._mine
                    if is_mine:
                        os.unlink(self._path)

    def take_over(self) -> None:
        """Write this process id over that of the program which this one has succeeded. What fails is logged."""
        if self._path is None:
            return
        try:
            self._write(self._path)
        except OSError as error:
            logging.getLogger("npserver.server").warning("-pidfile %s: %s", self._path, error.strerror)

    def _write(self, path: str) -> None:
        with open(path, "w", encoding="ascii") as file:
            file.write(self._mine)
