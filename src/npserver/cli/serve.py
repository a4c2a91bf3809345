"""`npserver URI... [options]` and `npserver -config FILE`: makes the config of the command line and runs it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from npserver import __version__
from npserver.cli.arguments import HELP, Arguments, ListenerArgument, UsageError, parse_arguments

if TYPE_CHECKING:
    from npserver.config.document import Document
    from npserver.config.schema import AnyRule, Upstream

DEFAULT_CONFIG = "config.json"

#: What a target without a scheme is taken for, by the listener's scheme.
_TARGET_SCHEMES = {
    "http": "http", "https": "http", "tcp": "tcp", "ssl": "tcp", "unix": "tcp", "udp": "udp", "unixgram": "udp"
}  # fmt: skip


def main(words: list[str]) -> int:
    """Serve until told to stop. Gives the exit status. Raises: ConfigError, StartError."""
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
                raise UsageError(f"nothing to serve: give a URI or -config FILE (no {DEFAULT_CONFIG} here)")
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
    from npserver.process.limits import raise_descriptor_limit, usable_cpus
    from npserver.process.plan import Plan
    from npserver.process.source import Source

    rules = command_line_rules(arguments)  # wrong targets are told before anything is read
    source = Source(arguments.config or "", lambda document: amend(document, arguments, *rules))
    document = source.document(source.read())
    raise_descriptor_limit()
    logs.configure(document.config.logging)
    workers = document.config.workers
    workers = usable_cpus() if workers is None else workers
    plan = Plan(
        source, document, workers, arguments.watch,
        lambda runtime, bindings: print_banner(runtime, bindings, workers),
    )  # fmt: skip
    with _pidfile(arguments.pidfile):
        if workers == 0:
            from npserver.process.single import run_single

            return run_single(plan)
        from npserver.process.master import Master

        return Master(plan).run()


def command_line_rules(arguments: Arguments) -> tuple[list[AnyRule], dict[str, Upstream]]:
    """Make the rules that `-to` stands for, and an upstream where a listener has several. Raises: UsageError."""
    from npserver.config.schema import ForwardRule, ProxyRule, Upstream

    rules: list[AnyRule] = []
    upstreams: dict[str, Upstream] = {}
    for listener in arguments.listeners:
        targets = [_target(listener, text) for text in listener.targets]
        if not targets:
            continue
        goal = targets[0]
        if len(targets) > 1:
            name = f"command-line-{len(upstreams) + 1}"
            upstreams[name] = Upstream(targets=list(targets))
            goal = f"upstream://{name}"
        scheme = listener.address.scheme
        if scheme in ("http", "https") or (scheme in ("unix", "ssl") and targets[0].startswith("http")):
            rules.append(ProxyRule(listener=listener.uri, proxy_pass=goal))
        else:
            rules.append(ForwardRule(listener=listener.uri, forward_to=goal))
    return rules, upstreams


def _target(listener: ListenerArgument, text: str) -> str:
    from npserver.address import parse_target

    scheme = _TARGET_SCHEMES[listener.address.scheme]
    if text.startswith("/"):
        text = f"{'unix' if listener.address.is_stream else 'unixgram'}://{text}"
    try:
        return str(parse_target(text, scheme, listener.address.port or None))
    except ValueError as error:
        raise UsageError(f"-to: {error}") from None


def amend(document: Document, arguments: Arguments, rules: list[AnyRule], upstreams: dict[str, Upstream]) -> Document:
    """Put into a config what the command line says: its listeners and rules are added, its values take precedence."""
    from msgspec.structs import replace

    from npserver.config.document import Document
    from npserver.config.schema import Tls

    config = document.config
    changes: dict[str, object] = {
        "listen": [*config.listen, *(listener.uri for listener in arguments.listeners)],
        "dispatch": [*config.dispatch, *rules],
        "upstreams": {**config.upstreams, **upstreams},
    }
    if arguments.cert is not None and arguments.key is not None:
        changes["tls"] = Tls(cert=os.path.abspath(arguments.cert), key=os.path.abspath(arguments.key))
    if arguments.root is not None:
        changes["root"] = os.path.abspath(arguments.root)
    if arguments.backlog is not None:
        changes["backlog"] = arguments.backlog
    if arguments.workers is not None:
        changes["workers"] = arguments.workers
    return Document(replace(config, **changes), document.file, document.directory, document.positions)


@contextlib.contextmanager
def _pidfile(path: str | None) -> Iterator[None]:
    """Keep the process id in a file while serving. Raises: StartError."""
    from npserver.errors import StartError

    if path is None:
        yield
        return
    mine = f"{os.getpid()}\n"
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(mine)
    except OSError as error:
        raise StartError(f"-pidfile {path}: {error.strerror}: name a file that can be written") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            with open(path, encoding="ascii") as file:
                is_mine = file.read() == mine
            if is_mine:
                os.unlink(path)
