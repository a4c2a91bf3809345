"""`npserver explain`: say what the server would do with a request, a name or a connection, and why."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from npserver.cli.arguments import DEFAULT_CONFIG
from npserver.errors import clip

if TYPE_CHECKING:
    from npserver.config.document import Document
    from npserver.process.live_state import LiveState

HELP = """\
usage: npserver explain URL [-from IP] [-header 'NAME: VALUE'] [-method METHOD]
       npserver explain NAME [TYPE] [-from IP]
       npserver explain tcp://HOST:PORT [-from IP] [-sni NAME]

Say what a server with this config would do, step by step, and which lines of the config decide. No server has to run:
the config is compiled and asked; nothing is sent, opened or written. Health, bans and limits are those of a server that
has just started.

  URL                http://, https://, ws:// or wss://: the listener, certificate and rule, what middleware decides,
                     the file or the targets, and the header that is forwarded
  NAME [TYPE]        a DNS name (dns:NAME for one that looks otherwise): the view, zone and records, the block list, or
                     the resolvers that are asked; the type is A by default
  tcp://HOST:PORT    also ssl://, udp://, unix:///PATH: the rule and the targets of a forwarded connection
  -from IP           the client (default: 192.0.2.1, which stands for anybody on the internet; 127.0.0.1 at a listener
                     on a loopback address; unix: at a Unix socket)
  -header 'K: V'     a field of the request; may be given several times
  -method METHOD     of the request (default: GET)
  -sni NAME          the server name in the TLS handshake (default: the host of the URL)
  -listener NAME     the name or URI of the listener, where the address leaves it open
  -config FILE       the config file (default: config.json)
  -live              as the server that runs with this config file would do it now: health checks, drains, requests in
                     progress, bans, and networks from lists
  -json              print the explanation as JSON

The exit status is 0 if it is explained, 1 if no listener takes the question or -live finds no server, 2 if the config
has errors or the usage is wrong.
"""
EXPLAINED, NOT_TAKEN, MISUSED = 0, 1, 2
_WITH_VALUE = ("from", "header", "method", "sni", "listener", "config")


@dataclass
class _Words:
    """The command line."""

    ask: list[str] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)
    headers: list[tuple[str, str]] = field(default_factory=list)
    is_json: bool = False
    is_live: bool = False
    wants_help: bool = False


def main(words: list[str]) -> int:
    """Explain. Return the exit status."""
    from npserver.explain.question import parse_question

    try:
        read = _read(words)
        if read.wants_help:
            print(HELP, end="")
            return EXPLAINED
        if not read.ask:
            raise ValueError("expected a URL or a name")
        question = parse_question(
            " ".join(read.ask),
            client=read.values.get("from"),
            method=read.values.get("method", "GET"),
            headers=tuple(read.headers),
            sni=read.values.get("sni"),
            listener=read.values.get("listener"),
        )
    except ValueError as error:
        print(f"npserver explain: {error}; see npserver explain -help", file=sys.stderr)
        return MISUSED
    from npserver.config.load import load
    from npserver.process.explaining import explaining

    config = read.values.get("config", DEFAULT_CONFIG)
    document = load(config)
    live = None
    if read.is_live and (live := _live_state(config, document)) is None:
        return NOT_TAKEN
    with explaining(document, live=live) as explainer:
        found = explainer.explain(question).hiding(document.hide)
    print(found.as_json().decode() if read.is_json else found)
    return EXPLAINED if found.listener else NOT_TAKEN


def _live_state(config: str, document: Document) -> LiveState | None:
    """Return the state of the server that runs with a config; None, and a message on stderr, if none answers."""
    import msgspec

    from npserver.cli.running.answered import answered
    from npserver.process.live_state import LiveState, digest

    answer = answered("explain", config, "state")
    if answer is None:
        return None
    state = msgspec.convert(answer.result, LiveState)
    if state.config != digest(document):
        print(
            f"npserver explain: the running server uses another config than {config}: it has not been "
            "reloaded since, or was started with further options; the file is explained",
            file=sys.stderr,
        )
    return state


def _read(words: list[str]) -> _Words:
    """Raises: ValueError."""
    read = _Words()
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            read.ask.append(word)
            continue
        option, mark, value = word.lstrip("-").partition("=")
        if option in ("help", "h"):
            read.wants_help = True
        elif option == "json":
            read.is_json = True
        elif option == "live":
            read.is_live = True
        elif option not in _WITH_VALUE:
            raise ValueError(f"unknown option {clip(word)}")
        else:
            if not mark:
                value = next(rest, "")
                if not value and option != "sni":
                    raise ValueError(f"-{option} needs a value")
            if option == "header":
                name, colon, text = value.partition(":")
                if not colon:
                    raise ValueError(f"-header: expected 'NAME: VALUE', got {clip(value)}")
                read.headers.append((name.strip(), text.strip()))
            else:
                read.values[option] = value
    return read
