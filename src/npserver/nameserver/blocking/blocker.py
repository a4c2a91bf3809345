"""Decides for the clients of one entry of `dns_block` which names are blocked, and answers for those.

The name server calls `guard` before it asks the resolvers: their cache is behind it, so that clients of other entries
do not see what one of them is told, nor the other way round.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from npserver.dns.message import codes
from npserver.dns.message.name import ROOT, to_text
from npserver.nameserver.blocking.answers import BlockedAnswer, BlockedReply, make_reply, targets
from npserver.nameserver.blocking.list_format import Action
from npserver.nameserver.blocking.table import hashes_of
from npserver.nameserver.resolver.messages import fail

if TYPE_CHECKING:
    from npserver.config.report import Path
    from npserver.dns.message.query import Query
    from npserver.nameserver.blocking.block_list import BlockList
    from npserver.networks import Networks
    from npserver.runtime.scoreboard import Row

log = logging.getLogger("npserver.dns")

Deliver = Callable[[bytes], None]

MAX_SHOWN_CHARACTERS = 60  # of the name of a list

#: The names of answers that lists give, for the counters; `Action.BLOCK` has that of the config.
_NAMES = {Action.NXDOMAIN: "nxdomain", Action.NODATA: "nodata", Action.REFUSE: "refused"}


class Verdict(Struct, frozen=True):
    """What is decided of a name."""

    action: Action
    key: str  # of the config, that has decided
    entry: bytes  # the name that is listed
    slot: int = 0  # of the counter
    used: UsedList | None = None  # the list, if it is one


class UsedList(Struct, frozen=True):
    """A list as one entry of the config uses it."""

    key: str
    list: BlockList
    slot: int

    @property
    def reason(self) -> str:
        """What clients are told: the name of the file, or the host of the URL, and the key of the config."""
        source = self.list.source
        shown = source.shown.partition("://")[2] if source.kind == "url" else os.path.basename(source.place)
        return f"{shown[:MAX_SHOWN_CHARACTERS]} ({self.key})"


class Blocker:
    """One entry of `dns_block`.

    Args:
        key: of the entry in the config.
        allow: names that are never blocked, with all names below, and the key of each.
        block: names that are, likewise.
    """

    __slots__ = ("_allow", "_answer", "_block", "_own_slot", "_row", "_slots", "key", "lists")

    def __init__(
        self,
        key: str,
        lists: Sequence[UsedList],
        allow: dict[bytes, str],
        block: dict[bytes, str],
        answer: BlockedAnswer,
        row: Row,
    ) -> None:
        self.key = key
        self._allow = allow
        self._block = block
        self._answer = answer
        self._row = row
        self.lists = tuple(lists)
        self._own_slot = row.slot(f"dns.block_lists.{key}.block config")
        self._slots = {action: row.slot(f"dns.blocked.{name}") for action, name in _NAMES.items()}
        self._slots[Action.BLOCK] = row.slot(f"dns.blocked.{answer.name}")

    def __repr__(self) -> str:
        return f"<Blocker {self.key} {len(self.lists)} lists>"

    def judge(self, name: bytes) -> Verdict | None:  # hot: dns-block
        """Return what is decided of a name, in wire form and lower case; None if nothing says anything of it.

        `allow` wins, then `block`, then exceptions of any list, then the lists in their order.
        """
        if self._allow or self._block:
            blocked, above = b"", name
            while above != ROOT:
                if above in self._allow:
                    return Verdict(Action.PASS, self._allow[above], above)
                if not blocked and above in self._block:
                    blocked = above
                above = above[above[0] + 1 :]
            if blocked:
                return Verdict(Action.BLOCK, self._block[blocked], blocked, self._own_slot)
        hashes = hashes_of(name)
        first: Verdict | None = None
        for used in self.lists:
            table = used.list.table
            found = None if table is None else table.find(hashes)
            if found is not None and (first is None or found[0] is Action.EXCEPT):
                first = Verdict(found[0], used.key, _above(name, found[1]), used.slot, used)
                if first.action >= Action.PASS:
                    break
        return first

    def guard(self, query: Query, asked: bytes, finish: Deliver, deliver: Deliver) -> Deliver | None:
        """Return what is to be called with the resolvers' reply; None if the query was answered, as it is blocked.

        Args:
            asked: the name that the resolvers are to be asked for, in lower case.
            finish: takes a reply of the resolvers that is not blocked.
            deliver: takes the reply to `query` if it is.
        """
        verdict = self.judge(asked)
        if verdict is not None and verdict.action >= Action.PASS:
            return finish
        if verdict is not None:
            deliver(self._refuse(query, asked, verdict))
            return None

        def check(reply: bytes) -> None:
            try:
                for name in targets(reply):
                    found = self.judge(name)
                    if found is not None and found.action < Action.PASS:
                        deliver(self._refuse(query, name, found))
                        return
            except ValueError:
                reply = fail(query, codes.SERVFAIL)
            finish(reply)

        return check

    def _refuse(self, query: Query, name: bytes, verdict: Verdict) -> BlockedReply:
        """Count a blocked query and return its reply. `name`: that which is blocked, asked for or led to."""
        slots = self._row.slots
        slots[verdict.slot] += 1
        slots[self._slots[verdict.action]] += 1
        if log.isEnabledFor(logging.DEBUG):
            leads = "" if name == query.key else f", which leads to {to_text(name)},"
            kind, entry = codes.type_name(query.qtype), to_text(verdict.entry)
            log.debug("%s %s%s is blocked by %s (%s)", to_text(query.key), kind, leads, entry, verdict.key)
        reason = verdict.key if verdict.used is None else verdict.used.reason
        reply = BlockedReply(make_reply(query, verdict.action, self._answer, reason))
        reply.key = verdict.key
        return reply


class Blocking:
    """All entries of `dns_block`, each with the clients it is for; None: all. The first that has a client is used.

    `names`: those of `allow` and `block`, and where each stands in the config.
    """

    __slots__ = ("entries", "names")

    def __init__(
        self,
        entries: Sequence[tuple[Networks | None, Blocker]] = (),
        names: Sequence[tuple[Path, bytes]] = (),
    ) -> None:
        self.entries = tuple(entries)
        self.names = tuple(names)

    def __repr__(self) -> str:
        return f"<Blocking {len(self.entries)} entries>"

    def choose(self, client: str) -> Blocker | None:
        """Return what is for a client."""
        for networks, blocker in self.entries:
            if networks is None or client in networks:
                return blocker
        return None


def _above(name: bytes, labels: int) -> bytes:
    """Return a name without its first labels."""
    position = 0
    for _ in range(labels):
        position += name[position] + 1
    return name[position:]
