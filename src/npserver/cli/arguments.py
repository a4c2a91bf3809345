"""Reading the command line of the server itself: URIs and options in any order, from left to right.

`-to` belongs to the listener before it. Options are known by one dash or two, and take their value from the next word
or after `=`. Pure: nothing is opened here.
"""

from __future__ import annotations

from msgspec import Struct

from npserver.address import Address, parse_listen
from npserver.errors import NpserverError, clip
from npserver.guess import get_close_matches

HELP = """\
npserver serves files, proxies HTTP, forwards TCP/UDP/Unix sockets and answers DNS.

usage: npserver URI... [-to URI] [options]     serve these listeners
       npserver -config FILE [options]         serve what a config file says (default: ./config.json)
       npserver COMMAND

listeners:
  http://:8080  https://:443  tcp://:3307  ssl://:993  udp://127.0.0.1:5353  unix:///tmp/app.sock  unixgram:///tmp/x

options:
  -to URI, -L URI      forward (or proxy, to http and https) the listener before it; several share the load
  -config FILE         the config file
  -cert FILE, -key FILE  certificate and private key (PEM) of https and ssl listeners
  -root DIR            files that listeners without a rule serve (default: ./public, ./html, a welcome page)
  -c N                 backlog: connections the kernel queues
  -workers N           worker processes (default: one per usable CPU; 0: everything in one process)
  -watch               reload when the config file changes
  -pidfile FILE        write the process id there
  -version, -help

commands:
  check [-config FILE]    say everything that is wrong with a config
  reload [-config FILE]   have the running server take over its changed config
  schema                  print the config's JSON Schema, for editors
  demo                    show every handler at work, with commands to try
  cert NAME...            make a certificate for testing
  hash-password           make a password hash for "basic_auth"

examples:
  npserver http://:8080 -root ./site
  npserver https://:443 http://:80 -cert fullchain.pem -key privkey.pem
  npserver tcp://:3307 -to dbserver.internal:3306
  npserver http://:8080 -to http://127.0.0.1:3000 -to http://127.0.0.1:3001
"""


class UsageError(NpserverError):
    """The command line cannot be understood: one line that says why."""


class ListenerArgument(Struct):
    """A URI to listen on, and what `-to` says about it."""

    uri: str
    address: Address
    targets: list[str] = []


class Arguments(Struct):
    """The command line, read."""

    listeners: list[ListenerArgument] = []
    config: str | None = None
    cert: str | None = None
    key: str | None = None
    root: str | None = None
    backlog: int | None = None
    workers: int | None = None
    pidfile: str | None = None
    watch: bool = False
    version: bool = False
    help: bool = False


_FLAGS = {"watch": "watch", "version": "version", "v": "version", "help": "help", "h": "help"}
_VALUES = {
    "config": "config", "cert": "cert", "key": "key", "root": "root", "pidfile": "pidfile",
    "c": "backlog", "backlog": "backlog", "workers": "workers", "to": "to", "L": "to",
}  # fmt: skip
_NUMBERS = {"backlog": (1, 65535), "workers": (0, 1024)}


def parse_arguments(words: list[str]) -> Arguments:
    """Read the words after the program's name. Raises: UsageError."""
    arguments = Arguments()
    early_targets: list[str] = []  # before any listener: they belong to the first
    given: set[str] = set()
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            arguments.listeners.append(_listener(word))
            continue
        spelling, equals, value = word.partition("=")
        name = _option(spelling)
        if name in _FLAGS:
            if equals:
                raise UsageError(f"{spelling} takes no value, got {clip(value)}")
            setattr(arguments, _FLAGS[name], True)
            continue
        if not equals:
            value = _next_value(spelling, rest)
        target = _VALUES[name]
        if target == "to":
            (arguments.listeners[-1].targets if arguments.listeners else early_targets).append(value)
            continue
        if target in given:
            raise UsageError(f"{spelling} given twice")
        given.add(target)
        setattr(arguments, target, _number(spelling, target, value) if target in _NUMBERS else value)
    _settle(arguments, early_targets)
    return arguments


def _settle(arguments: Arguments, early_targets: list[str]) -> None:
    """Check what can only be seen at the end."""
    if arguments.help or arguments.version:
        return
    if early_targets:
        if not arguments.listeners:
            raise UsageError(f"-to {clip(early_targets[0])} has no listener: name one before it, as in tcp://:3307")
        arguments.listeners[0].targets[:0] = early_targets
    if (arguments.cert is None) != (arguments.key is None):
        missing = "-key" if arguments.key is None else "-cert"
        raise UsageError(f"{missing} is missing: a certificate and its private key go together")
    seen: set[str] = set()
    for listener in arguments.listeners:
        if listener.uri in seen:
            raise UsageError(f"listener {clip(listener.uri)} given twice")
        seen.add(listener.uri)


def _listener(word: str) -> ListenerArgument:
    try:
        return ListenerArgument(word, parse_listen(word))
    except ValueError as error:
        from npserver.cli import COMMANDS

        if word.isalpha() and (close := get_close_matches(word, COMMANDS, 1)):
            raise UsageError(f"unknown command {clip(word)}, did you mean {close[0]!r}?") from None
        raise UsageError(str(error)) from None


def _option(spelling: str) -> str:
    name = spelling[2:] if spelling.startswith("--") else spelling[1:]
    known = [*_VALUES, *_FLAGS]
    if name in known and spelling not in ("--c", "--L", "--v", "--h"):
        return name
    close = get_close_matches(name, [one for one in known if len(one) > 1], 1, 0.5)
    hint = f", did you mean -{close[0]}?" if close else ", see npserver -help"
    raise UsageError(f"unknown option {clip(spelling)}{hint}")


def _next_value(spelling: str, rest: object) -> str:
    value = next(rest, None)  # type: ignore[call-overload]
    if value is None or (value.startswith("-") and value != "-"):
        raise UsageError(f"{spelling} needs a value")
    return str(value)


def _number(spelling: str, target: str, value: str) -> int:
    least, most = _NUMBERS[target]
    if not (value.isascii() and value.isdigit() and len(value) < 10 and least <= int(value) <= most):
        raise UsageError(f"{spelling} expects a number from {least} to {most}, got {clip(value)}")
    return int(value)
