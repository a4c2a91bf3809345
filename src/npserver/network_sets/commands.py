"""What people ask of bans over the control socket: `npserver bans`, `npserver ban` and `npserver unban`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from npserver.errors import clip
from npserver.network_sets.states import BanAnswer, published_bans
from npserver.networks import client_network
from npserver.runtime.pubsub import CONTROLLER

if TYPE_CHECKING:
    from collections.abc import Callable

COMMANDS = "networks:commands"  # the topic by which the controller is told
LIST, BAN, UNBAN = "bans", "ban", "unban"


def answer_ban_command(line: str, latest: dict[str, Any], tell: Callable[[int, str, Any], None]) -> BanAnswer:
    """Answer the line of a command: `bans`, or `ban` or `unban` with an address; the controller is told of the latter.

    `latest`: the values of all topics; `tell` tells a process.
    """
    verb, _, address = line.strip().partition(" ")
    known = published_bans(latest)
    if not known:
        return BanAnswer(error='no network of the config learns: see "learn" of "networks"')
    if verb == LIST:
        return BanAnswer([{"network": name, **ban} for name, bans in sorted(known.items()) for ban in bans])
    client = client_network(address.partition("/")[0] if address.endswith("/64") else address)
    if not client:
        return BanAnswer(error=f"expected an address such as 192.0.2.7, got {clip(address)}")
    found = [{"network": name, **ban} for name, bans in known.items() for ban in bans if ban["client"] == client]
    if verb == UNBAN and not found:
        return BanAnswer(error=f"{client} is not banned")
    tell(CONTROLLER, COMMANDS, {"bans": verb == BAN, "client": client, "names": sorted(known)})
    return BanAnswer(found)
