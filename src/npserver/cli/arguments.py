"""Parse the command line of the server: URIs and options in any order.

`-to` applies to the listener before it. Options begin with one or two dashes; their value is the next word or follows
`=`. Nothing is opened here.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from npserver.address import HTTP, Address, parse_listen, schemes_serving
from npserver.cli.hints import option_hint, word_hint
from npserver.errors import NpserverError, clip
from npserver.guess import get_close_matches
from npserver.port_range import first_of

DEFAULT_CONFIG = "config.json"
HELP = """\
npserver: web server, reverse proxy, TCP/UDP/Unix forwarder and DNS server.

usage: npserver URI... [-to URI] [options]   serve the listeners given as URIs
       npserver [-config FILE] [options]     serve a config file (./config.json)
       npserver COMMAND [-help]              run one of the commands below

listeners (without a host: on all addresses of this machine):
  http://:8080  https://:443      static files, or a reverse proxy with -to
  tcp://:3307  ssl://:993         forward connections to -to (ssl: TLS clients)
  udp://127.0.0.1:5353            forward datagrams to -to
  unix:///tmp/app.sock            HTTP on a Unix socket, or forward to -to
  unixgram:///tmp/x               forward datagrams of a Unix socket to -to

options:
  -to URI, -L URI        target of the listener before it; if given several
                         times, the load is balanced over the targets
  -root DIR              serve the files in this directory
                         (default: ./public, else ./html, else a welcome page)
  -php SOCKET            run the PHP scripts in it by PHP-FPM at this socket,
                         or at HOST:PORT
  -cert FILE, -key FILE  certificate and private key (PEM) for https and ssl
  -acme EMAIL            get a certificate of Let's Encrypt for each -host, and
                         renew it (-acme auto: without an address)
  -host NAME             name for -acme; may be given several times
  -config FILE           config file; listeners and options given with it
                         are added to it or override it
  -workers N             number of worker processes
                         (default: one per usable CPU; 0: a single process)
  -c N, -backlog N       number of connections that may wait to be accepted
  -watch                 reload when the config file changes
  -pidfile FILE          write the process id to this file
  -version, -v           print the version
  -help, -h              print this help

commands:
  check [-config FILE]   report all errors and warnings in a config file;
                         -print: print it as it is understood
  import NGINX.CONF      write a config from one of nginx; -o FILE: to this file
  explain URL|NAME       say what would be answered, and why
  reload [-config FILE]  make the running server reload its config file
  status [-config FILE]  show the running server: processes, listeners, targets, certificates
  drain TARGET|LISTENER  have a target or listener of the running server get nothing new, and wait until it is empty
  undrain TARGET|LISTENER  send it requests and clients again
  upgrade                replace the running program by the one that is
                         installed now, without losing a connection
  log AREA LEVEL         set a log level in the running server until the next reload
  stop [-config FILE]    shut the running server down, and wait for its end
  bans [-config FILE]    list the clients that are banned, and why; see also: npserver ban, npserver unban
  purge URL              remove responses from the cache of proxy rules
  dns ds ZONE            print the DS record of a signed zone; see also: npserver dns roll
  dns flush              empty the cache of dns_forward
  schema                 print the config's JSON Schema, for editors
  demo                   run a demo of all handlers, with commands to try
  cert [NAME...]         create a certificate for testing
  cert -root             print the root of the local authority, to trust it
  hash-password          hash a password for "basic_auth"
  completion SHELL       print the completion of bash, zsh or fish

examples:
  npserver http://:8080 -root ./site
  npserver http://:8080 -root ./site -php /run/php/php-fpm.sock
  npserver https://:443 http://:80 -cert fullchain.pem -key privkey.pem
  npserver https://:443 http://:80 -acme me@example.com -host example.com
  npserver tcp://:3307 -to dbserver.internal:3306
  npserver http://:8080 -to http://127.0.0.1:3000 -to http://127.0.0.1:3001
"""


class UsageError(NpserverError):
    """The command line is not valid. The message is one line."""


class ListenerArgument(Struct):
    """A URI to listen on, with the targets that `-to` gives it."""

    uri: str
    address: Address
    targets: list[str] = []


class Arguments(Struct):
    """The parsed command line."""

    listeners: list[ListenerArgument] = []
    config: str | None = None
    cert: str | None = None
    key: str | None = None
    acme: str | None = None  # the address; "auto": none
    hosts: list[str] = []
    root: str | None = None
    php: str | None = None
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
    "acme": "acme", "host": "host", "php": "php",
}  # fmt: skip
_NUMBERS = {"backlog": (1, 65535), "workers": (0, 1024)}


def parse_arguments(words: list[str]) -> Arguments:
    """Parse the words after the program's name. Raises: UsageError."""
    arguments = Arguments()
    early_targets: list[str] = []  # given before any listener: they apply to the first
    given: set[str] = set()
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            arguments.listeners.append(_listener(word))
            continue
        spelling, equals, value = word.partition("=")
        name = _option(spelling, value, rest)
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
        if target == "host":
            arguments.hosts.append(_host(value))
            continue
        if target in given:
            raise UsageError(f"{spelling} is given twice")
        given.add(target)
        setattr(arguments, target, _number(spelling, target, value) if target in _NUMBERS else value)
    _check(arguments, early_targets)
    return arguments


def _check(arguments: Arguments, early_targets: list[str]) -> None:
    """Assign the early targets, and check the options that depend on each other. Raises: UsageError."""
    if arguments.help or arguments.version:
        return
    if early_targets:
        if not arguments.listeners:
            raise UsageError(f"-to {clip(early_targets[0])} has no listener: give one before it, such as tcp://:3307")
        arguments.listeners[0].targets[:0] = early_targets
    if (arguments.cert is None) != (arguments.key is None):
        missing = "-key" if arguments.key is None else "-cert"
        raise UsageError(f"{missing} is missing: -cert and -key must be given together")
    _check_acme(arguments)
    if arguments.php is not None and not any(_takes_php(listener) for listener in arguments.listeners):
        raise UsageError("-php needs a listener that speaks HTTP and has no -to, such as http://:8080")
    seen: set[str] = set()
    for listener in arguments.listeners:
        if listener.uri in seen:
            raise UsageError(f"listener {clip(listener.uri)} is given twice")
        seen.add(listener.uri)


def _takes_php(listener: ListenerArgument) -> bool:
    return listener.address.scheme in schemes_serving(HTTP) and not listener.targets


def _check_acme(arguments: Arguments) -> None:
    """Check the options about certificates of a CA. Raises: UsageError."""
    if arguments.acme is None:
        if arguments.hosts:
            raise UsageError(
                f"-host {clip(arguments.hosts[0])} is a name for -acme EMAIL, which is missing: "
                "a listener is a URI, here http://127.0.0.1:80"
            )
        return
    if arguments.cert is not None:
        raise UsageError("-acme and -cert exclude each other: leave one of them out")
    if "@" not in arguments.acme and arguments.acme != "auto":
        raise UsageError(f"-acme expects an address such as me@example.com, or auto, got {clip(arguments.acme)}")
    if not arguments.hosts and arguments.config is None:
        raise UsageError("-host is missing: -acme orders a certificate for each name given by -host NAME")


def _host(value: str) -> str:
    if "," in value:
        raise UsageError(f"-host expects one name, got {clip(value)}: repeat -host for each")
    if "://" in value or "/" in value:
        raise UsageError(f"-host expects a name such as example.com, got {clip(value)}")
    return value


def _listener(word: str) -> ListenerArgument:
    try:
        return ListenerArgument(word, parse_listen(first_of(word)))
    except ValueError as error:
        from npserver.cli import COMMANDS

        if meant := word_hint(word):
            raise UsageError(meant) from None
        if word in COMMANDS:
            raise UsageError(f"a command comes before its options: npserver {word} ...") from None
        if word.isalpha() and (close := get_close_matches(word, COMMANDS, 1)):
            raise UsageError(f"unknown command {clip(word)}, did you mean {close[0]!r}?") from None
        raise UsageError(str(error)) from None


def _option(spelling: str, value: str, rest: Iterator[str]) -> str:
    name = spelling[2:] if spelling.startswith("--") else spelling[1:]
    known = [*_VALUES, *_FLAGS]
    if name in known and spelling not in ("--c", "--L", "--v", "--h"):
        return name
    if meant := option_hint(spelling, value or next(rest, "")):
        raise UsageError(meant)
    close = get_close_matches(name, [one for one in known if len(one) > 1], 1, 0.5)
    hint = f", did you mean -{close[0]}?" if close else ", see npserver -help"
    raise UsageError(f"unknown option {clip(spelling)}{hint}")


def _next_value(spelling: str, rest: Iterator[str]) -> str:
    value = next(rest, None)
    if value is None or (value.startswith("-") and value != "-"):
        raise UsageError(f"{spelling} requires a value")
    return value


def _number(spelling: str, target: str, value: str) -> int:
    least, most = _NUMBERS[target]
    if not (value.isascii() and value.isdigit() and len(value) < 10 and least <= int(value) <= most):
        raise UsageError(f"{spelling} expects a number from {least} to {most}, got {clip(value)}")
    return int(value)
