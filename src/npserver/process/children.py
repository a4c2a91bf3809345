"""The master's children: forking them, noticing their end, forking them again."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from npserver.process.channel import Channel, ChannelClosed, Message
from npserver.process.child import CONTROLLER, Seat, exit_child, name_role

if TYPE_CHECKING:
    from npserver.runtime.scoreboard import Scoreboard

log = logging.getLogger("npserver.server")

#: Pause before a child is forked again, by how often in a row it died young.
PAUSES_S = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0)
GROWN_UP_S = 10.0  # a child that lived for so long starts again at the first pause

HANDLED_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)


class Member:
    """One place in the crew and the process that holds it, if any."""

    __slots__ = ("born_at", "channel", "is_ready", "pid", "restart_at", "role", "young_deaths")

    def __init__(self, role: int) -> None:
        self.role = role
        self.pid = 0
        self.channel: Channel | None = None
        self.is_ready = False
        self.born_at = 0.0
        self.restart_at = 0.0
        self.young_deaths = 0

    def __repr__(self) -> str:
        return f"<Member {name_role(self.role)} pid={self.pid}{' ready' if self.is_ready else ''}>"

    def send(self, message: Message, descriptors: list[int] | None = None) -> None:
        """Send to the process; one that is gone misses it and is about to be noticed."""
        if self.channel is not None:
            with contextlib.suppress(ChannelClosed):
                self.channel.send(message, descriptors)


class Crew:
    """The controller and the workers."""

    __slots__ = ("_board", "_leave_master", "_take_seat", "members")

    def __init__(
        self,
        workers: int,
        board: Scoreboard,
        take_seat: Callable[[int, Channel], Seat],
        leave_master: Callable[[int], None],
    ) -> None:
        self._board = board
        self._take_seat = take_seat  # what a new child is given
        self._leave_master = leave_master  # called in a new child: closes what belongs to the master
        self.members = [Member(role) for role in (*range(workers), CONTROLLER)]

    @property
    def alive(self) -> list[Member]:
        """Those that have a process."""
        return [member for member in self.members if member.pid]

    def fork(self, member: Member) -> None:
        """Start a process for a place."""
        ours, theirs = Channel.pair()
        sys.stdout.flush()
        sys.stderr.flush()
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED_SIGNALS)  # none may meet the master's handlers in the child
        try:
            pid = os.fork()
            if pid == 0:
                self._begin_child(member.role, ours, theirs)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED_SIGNALS)
        theirs.close()
        member.pid, member.channel, member.is_ready = pid, ours, False
        member.born_at = time.monotonic()

    def _begin_child(self, role: int, ours: Channel, theirs: Channel) -> None:
        try:
            signal.set_wakeup_fd(-1)
            for number in HANDLED_SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            ours.close()
            for other in self.members:
                if other.channel is not None:
                    other.channel.close()
            seat = self._take_seat(role, theirs)
            self._leave_master(role)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED_SIGNALS)
        except BaseException:
            log.exception("%s could not begin", name_role(role))
            os._exit(1)
        exit_child(seat)

    def reap(self) -> Iterator[tuple[Member, str]]:
        """Give each child that has ended, with how; its gauges are cleared and its restart is due after a pause."""
        for member in self.alive:
            pid, status = os.waitpid(member.pid, os.WNOHANG)
            if not pid:
                continue
            now = time.monotonic()
            grown_up = now - member.born_at >= GROWN_UP_S
            pause_s = PAUSES_S[0 if grown_up else min(member.young_deaths, len(PAUSES_S) - 1)]
            member.young_deaths = 1 if grown_up else member.young_deaths + 1
            member.restart_at = now + pause_s
            member.pid = 0
            self._clear_gauges(member.role)
            code = os.waitstatus_to_exitcode(status)
            yield member, f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"

    def _clear_gauges(self, role: int) -> None:
        names = self._board.directory.names
        self._board.clear_gauges(role, [slot for name, slot in names.items() if name.startswith("gauge.")])

    def broadcast(self, message: Message, *, but: Member | None = None) -> None:
        """Send to all that live, except one."""
        for member in self.alive:
            if member is not but:
                member.send(message)

    def kill(self) -> None:
        """End all at once."""
        for member in self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(member.pid, signal.SIGKILL)
        for member in self.alive:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(member.pid, 0)
            member.pid = 0
