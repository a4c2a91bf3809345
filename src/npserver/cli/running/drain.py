"""`npserver drain` and `npserver undrain`: have a target get no new requests and connections, and the opposite."""

from __future__ import annotations

import sys
import time

from npserver.cli.check import DEFAULT_CONFIG
from npserver.errors import clip
from npserver.process.control.client import ask, no_server

HELP = """\
usage: npserver drain [-config FILE] [-wait SECONDS] [-force] [-no-wait] TARGET
       npserver undrain [-config FILE] TARGET

Have a target of the running server, such as http://10.0.0.1:8000 or 10.0.0.1:8000, get no new requests and connections,
in all upstreams that have it: DNS records of upstreams do not name it, requests and clients with sticky cookies go to
other targets. Those in progress end by themselves. The command tells how many are left, and ends when there are none.
A drain lasts until `undrain` or the end of the server, over reloads as long as the config names the target.

  -config FILE    the server that runs with this config file (default: config.json)
  -wait SECONDS   end the requests, WebSockets, connections and sessions that are left after this time
  -no-wait        begin the drain, and do not wait
  -force          drain the last target of an upstream, too: its clients are refused (503)

The exit status is 0 when the target is empty (with -no-wait: drained), 1 if it cannot be drained or no server answers,
2 for invalid usage. An interrupted command ends with 130; the drain goes on.
"""
DONE, FAILED, USAGE = 0, 1, 2
POLL_S = 0.1
SAY_EVERY_S = 1.0


def main(words: list[str]) -> int:
    """Drain. Return the exit status."""
    return run("drain", words)


def run(command: str, words: list[str]) -> int:
    """Run one of the two commands. Return the exit status."""
    if words in (["-help"], ["--help"], ["-h"]):
        print(HELP, end="")
        return DONE
    config, targets, wait_s, is_forced, waits = DEFAULT_CONFIG, [], None, False, True
    rest = iter(words)
    for word in rest:
        option = f"-{word.lstrip('-')}" if word.startswith("-") else ""
        if option == "-config":
            config = next(rest, "")
        elif command == "drain" and option == "-wait":
            value = next(rest, "")
            if not (value.isascii() and value.isdigit()):
                return _misused(command, f"-wait expects a number of seconds, got {clip(value)}")
            wait_s = int(value)
        elif command == "drain" and option == "-force":
            is_forced = True
        elif command == "drain" and option == "-no-wait":
            waits = False
        elif option:
            return _misused(command, f"unknown option {clip(word)}")
        else:
            targets.append(word)
    if len(targets) != 1 or not config:
        return _misused(command, "expected one target")
    try:
        if command == "drain":
            answer = ask(config, command, target=targets[0], wait_s=wait_s, is_forced=is_forced)
        else:
            answer = ask(config, command, target=targets[0])
        if answer.errors:
            print(f"npserver {command}: {answer.errors[0]}", file=sys.stderr)
            return FAILED
        if command == "undrain":
            print("gets requests again")
            return DONE
        return _wait_until_empty(config, targets[0]) if waits else _say(answer.result["active"])
    except OSError:
        print(no_server(command, config), file=sys.stderr)
        return FAILED


def _wait_until_empty(config: str, target: str) -> int:
    """Tell how many requests and connections are left, until there are none. Raises: OSError."""
    told, told_at = -1, 0.0
    while True:
        answer = ask(config, "drained", target=target)
        if answer.errors:
            print(f"npserver drain: {answer.errors[0]}", file=sys.stderr)
            return FAILED
        left = answer.result
        if not left["is_drained"]:
            print("npserver drain: the drain was ended meanwhile", file=sys.stderr)
            return FAILED
        if left["is_empty"]:
            print("empty")
            return DONE
        if left["active"] != told and time.monotonic() >= told_at + SAY_EVERY_S:
            told, told_at = left["active"], time.monotonic()
            _say(told)
        time.sleep(POLL_S)


def _say(active: int) -> int:
    print(
        f"draining: {active} {'request or connection' if active == 1 else 'requests and connections'} left", flush=True
    )
    return DONE


def _misused(command: str, message: str) -> int:
    print(f"npserver {command}: {message}\n\n{HELP}", end="", file=sys.stderr)
    return USAGE
