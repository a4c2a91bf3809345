"""`npserver drain`: have a target or a listener get nothing new, and wait until it is empty."""

from __future__ import annotations

import sys
import time

from npserver.cli.arguments import UsageError
from npserver.cli.running.answered import answered
from npserver.cli.words import Words, run_command
from npserver.errors import clip

HELP = """\
usage: npserver drain [-config FILE] [-wait SECONDS] [-force] [-no-wait] TARGET|LISTENER

Have a target of the running server, such as http://10.0.0.1:8000 or 10.0.0.1:8000, get no new requests and connections,
in all upstreams that have it: DNS records of upstreams do not name it, requests and clients with sticky cookies go to
other targets. Those in progress end by themselves.

Or have a listener, such as https://:443 or its name, take no new clients: connections are refused, datagrams of new
clients are dropped, DNS queries over UDP fail. Connections end after their requests in progress; WebSockets, forwarded
connections and UDP sessions end by themselves.

The command tells how many are left, and ends when there are none. A drain lasts until `npserver undrain` or the end of
the server, over reloads as long as the config names the target or listener.

  -config FILE    the server that runs with this config file (default: config.json)
  -wait SECONDS   end the requests, WebSockets, connections and sessions that are left after this time
  -no-wait        begin the drain, and do not wait
  -force          drain the last target of an upstream, too: its clients are refused (503)

The exit status is 0 when it is empty (with -no-wait: drained), 1 if it cannot be drained or no server answers, 2 for
invalid usage. An interrupted command ends with 130; the drain goes on.
"""
DONE, FAILED = 0, 1
POLL_S = 0.1
SAY_EVERY_S = 1.0


def main(words: list[str]) -> int:
    """Drain. Return the exit status."""
    return run_command("drain", HELP, words, _drain, flags=("force", "no-wait"), values=("wait",))


def _drain(words: Words) -> int:
    wait = words.options.get("wait")
    if wait is not None and not (wait.isascii() and wait.isdigit()):
        raise UsageError(f"-wait expects a number of seconds, got {clip(wait)}")
    target, wait_s = target_of(words), None if wait is None else int(wait)
    answer = answered("drain", words.config, "drain", target=target, wait_s=wait_s, is_forced="force" in words.options)
    if answer is None:
        return FAILED
    return _say(answer.result["active"]) if "no-wait" in words.options else _wait_until_empty(words.config, target)


def target_of(words: Words) -> str:
    """Return the target or listener that the command names. Raises: UsageError."""
    if len(words.rest) != 1:
        raise UsageError("expected one target or listener")
    return words.rest[0]


def _wait_until_empty(config: str, target: str) -> int:
    """Tell how many requests and connections are left, until there are none."""
    told, told_at = -1, 0.0
    while True:
        answer = answered("drain", config, "drained", target=target)
        if answer is None:
            return FAILED
        left = answer.result
        if not left["is_drained"]:
            print("npserver drain: the drain was ended meanwhile", file=sys.stderr)
            return FAILED
        if left["is_empty"]:
            print("empty")
            return DONE
        if left["active"] not in (told, None) and time.monotonic() >= told_at + SAY_EVERY_S:
            told, told_at = left["active"], time.monotonic()
            _say(told)
        time.sleep(POLL_S)


def _say(active: int | None) -> int:
    """Say how many are left; None: that is not known yet."""
    what = "request or connection" if active == 1 else "requests and connections"
    print("draining" if active is None else f"draining: {active} {what} left", flush=True)
    return DONE
