"""`npserver bans`, `npserver ban` and `npserver unban`: list the bans of a running server, make and lift them."""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import Any

from npserver.cli.arguments import UsageError
from npserver.cli.words import Words, run_command
from npserver.process.control.client import ask

HELP = """\
usage: npserver bans [-config FILE]
       npserver ban [-config FILE] ADDRESS
       npserver unban [-config FILE] ADDRESS

List the clients that a running server bans by its networks with "learn"; ban a client, or lift its ban. Of an IPv6
address the /64 is meant.

  -config FILE    the server that runs with this config file (default: config.json)
"""
DONE, FAILED = 0, 1
WITHIN_S = 2.0  # for the controller to do what it was told
POLL_S = 0.02


def main(words: list[str]) -> int:
    """List. Return the exit status: 0 done, 1 failed, 2 invalid usage."""
    return run("bans", words)


def run(command: str, words: list[str]) -> int:
    """Run one of the three commands. Return the exit status."""
    return run_command(command, HELP, words, partial(_run, command))


def _run(command: str, words: Words) -> int:
    config, addresses = words.config, words.rest
    if len(addresses) != (command != "bans"):
        raise UsageError("expected one address" if command != "bans" else "takes no address")
    try:
        answer = ask(config, command, address="".join(addresses))
        is_done = bool(answer.errors) or command == "bans" or _is_done(config, command, addresses[0])
    except OSError:
        print(f"npserver {command}: no running server uses the config {config}", file=sys.stderr)
        return FAILED
    if answer.errors:
        print(f"npserver {command}: {answer.errors[0]}", file=sys.stderr)
        return FAILED
    if not is_done:
        why = ": networks of 'except' and of 'trusted_proxies' are never banned" if command == "ban" else ""
        print(f"npserver {command}: not done within {WITHIN_S:g} s{why}", file=sys.stderr)
        return FAILED
    if command == "bans":
        bans = answer.result
        for ban in bans:
            print(_line(ban))
        print(f"{len(bans)} {'client is' if len(bans) == 1 else 'clients are'} banned")
    else:
        print("banned" if command == "ban" else "no longer banned")
    return DONE


def _is_done(config: str, command: str, address: str) -> bool:
    """Wait until the controller has done it; False if it does not."""
    from npserver.networks import client_network

    client, end = client_network(address.partition("/")[0]), time.monotonic() + WITHIN_S
    while time.monotonic() < end:
        is_banned = any(ban["client"] == client for ban in ask(config, "bans").result or ())
        if is_banned == (command == "ban"):
            return True
        time.sleep(POLL_S)
    return False


def _line(ban: dict[str, Any]) -> str:
    until = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(ban["until"]))
    return f"{ban['client']}  {ban['network']}  {ban['event']}  until {until}"
