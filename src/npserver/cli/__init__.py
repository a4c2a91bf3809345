"""The command line. The first word selects a command; without one, npserver serves."""

from __future__ import annotations

import gc
import sys
from importlib import import_module

from npserver.cli.standard_streams import flush_streams, open_closed_streams

#: The module of each command; its `main(words)` runs the command and returns the exit status.
COMMANDS = {
    "check": "npserver.cli.check",
    "import": "npserver.cli.import_config",
    "explain": "npserver.cli.explain",
    "reload": "npserver.cli.reload",
    "status": "npserver.cli.running.status",
    "drain": "npserver.cli.running.drain",
    "undrain": "npserver.cli.running.undrain",
    "upgrade": "npserver.cli.upgrade",
    "log": "npserver.cli.running.log",
    "stop": "npserver.cli.running.stop",
    "purge": "npserver.cli.purge",
    "dns": "npserver.cli.dns",
    "bans": "npserver.cli.bans",
    "ban": "npserver.cli.ban",
    "unban": "npserver.cli.unban",
    "schema": "npserver.cli.schema",
    "demo": "npserver.cli.demo",
    "cert": "npserver.cli.cert",
    "hash-password": "npserver.cli.hashpassword",
    "completion": "npserver.cli.completion",
}

_AS_OPTIONS = {"help": "-help", "version": "-version"}

FAILED = 1
USAGE = 2
INTERRUPTED = 130


def main(words: list[str] | None = None) -> int:
    """Run npserver with `words` as its arguments. Return the exit status: 1 cannot start, 2 invalid usage or config."""
    gc.disable()  # a start makes hardly any garbage
    open_closed_streams()
    try:
        status = _run(sys.argv[1:] if words is None else words)
    except BrokenPipeError:  # `npserver schema | head`
        status = FAILED
    return status if flush_streams() else status or FAILED


def _run(words: list[str]) -> int:
    from npserver.errors import ConfigError, StartError

    if words and words[0] in _AS_OPTIONS:
        words = [_AS_OPTIONS[words[0]], *words[1:]]
    if words[:1] == ["-help"]:
        words = [*words[1:2], "-help"] if words[1:2] and words[1] in COMMANDS else ["-help"]  # `npserver help check`
    name, rest = (words[0], words[1:]) if words and words[0] in COMMANDS else ("", words)
    try:
        module = import_module(COMMANDS.get(name, "npserver.cli.serve"))
        if name:
            gc.enable()  # the master enables it itself, before it forks
        return int(module.main(rest))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return USAGE
    except StartError as error:
        print(f"npserver: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
