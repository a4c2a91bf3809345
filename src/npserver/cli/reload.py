"""`npserver reload`: has the running server take over its changed config, and says how that went."""

from __future__ import annotations

import os
import signal
import sys

from npserver.cli.arguments import UsageError, parse_arguments
from npserver.cli.serve import DEFAULT_CONFIG
from npserver.process.control_socket import ask_reload

HELP = """\
usage: npserver reload [-config FILE]    ask the server that runs with this config file (default: ./config.json)
       npserver reload -pidfile FILE     send SIGHUP to the server that wrote this file
"""


def main(words: list[str]) -> int:
    """Reload. Gives the exit status: 0 reloaded, 1 not, 2 wrong usage."""
    try:
        arguments = parse_arguments(words)
        if arguments.listeners:
            raise UsageError(f"reload takes no listeners, got {arguments.listeners[0].uri!r}")
    except UsageError as error:
        print(f"npserver reload: {error}", file=sys.stderr)
        return 2
    if arguments.help:
        print(HELP, end="")
        return 0
    if arguments.pidfile is not None:
        return _signal(arguments.pidfile)
    config = arguments.config or DEFAULT_CONFIG
    try:
        errors = ask_reload(config)
    except OSError:
        print(
            f"npserver reload: no server with the config {config} answers: start it, or name its file with -config "
            "(a server of another user: send it SIGHUP)",
            file=sys.stderr,
        )
        return 1
    for line in errors:
        print(line, file=sys.stderr)
    print("reload failed: keeping the current configuration" if errors else "reloaded")
    return 1 if errors else 0


def _signal(path: str) -> int:
    try:
        with open(path, encoding="ascii") as file:
            os.kill(int(file.read()), signal.SIGHUP)
    except (OSError, ValueError) as error:
        print(f"npserver reload: no server to be found by {path}: {error}", file=sys.stderr)
        return 1
    print("asked to reload; the outcome is in the server's log")
    return 0
