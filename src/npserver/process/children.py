"""The master's child processes: forking them, noticing their exit, restarting them with back-off."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from npserver.process.child import CONTROLLER, ChildSetup, exit_child, name_role
from npserver.process.message_channel import ChannelClosed, Message, MessageChannel

if TYPE_CHECKING:
    from npserver.runtime.scoreboard import Scoreboard

log = logging.getLogger("npserver.server")

#: Restart back-off, by the number of consecutive early exits.
RESTART_PAUSES_S = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0)
STABLE_AFTER_S = 10.0  # an exit later than this is not an early one

HANDLED_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)


class Child:
    """One child as the master sees it: its role, and its current process if it has one."""

    __slots__ = ("channel", "early_exits", "is_ready", "pid", "restart_at", "role", "started_at", "starts")

    def __init__(self, role: int) -> None:
        self.role = role
        self.pid = 0
        self.channel: MessageChannel | None = None
        self.is_ready = False
        self.started_at = 0.0
        self.restart_at = 0.0
        self.early_exits = 0
        self.starts = 0  # how often it was forked

    def __repr__(self) -> str:
        return f"<Child {name_role(self.role)} pid={self.pid}{' ready' if self.is_ready else ''}>"

    def send(self, message: Message, descriptors: list[int] | None = None) -> None:
        """Send a message to the process. It is lost if the process has just exited, which `Children.reap` reports."""
        if self.channel is not None:
            with contextlib.suppress(ChannelClosed):
                self.channel.send(message, descriptors)


class Children:
    """The workers and the controller."""

    __slots__ = ("_all", "_board", "_leave_master", "_setup_for")

    def __init__(
        self,
        workers: int,
        board: Scoreboard,
        setup_for: Callable[[int, MessageChannel], ChildSetup],
        leave_master: Callable[[int], None],
    ) -> None:
        self._board = board
        self._setup_for = setup_for  # called in a new child: returns its setup
        self._leave_master = leave_master  # called in a new child: closes what belongs to the master
        self._all = [Child(role) for role in (*range(workers), CONTROLLER)]

    def __iter__(self) -> Iterator[Child]:
        return iter(self._all)

    @property
    def alive(self) -> list[Child]:
        """The children that have a process."""
        return [child for child in self._all if child.pid]

    def fork(self, child: Child) -> None:
        """Start the process of `child`."""
        ours, theirs = MessageChannel.pair()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):  # a closed terminal or pipe: what is left for it is nobody's loss
                stream.flush()
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED_SIGNALS)  # the child must not run the master's handlers
        try:
            pid = os.fork()
            if pid == 0:
                self._begin_child(child.role, ours, theirs)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED_SIGNALS)
        theirs.close()
        child.pid, child.channel, child.is_ready = pid, ours, False
        child.started_at = time.monotonic()
        child.starts += 1

    def _begin_child(self, role: int, ours: MessageChannel, theirs: MessageChannel) -> None:
        try:
            signal.set_wakeup_fd(-1)
            for number in HANDLED_SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            ours.close()
            for other in self._all:
                if other.channel is not None:
                    other.channel.close()
            setup = self._setup_for(role, theirs)
            self._leave_master(role)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED_SIGNALS)
        except BaseException:
            log.exception("%s failed to start", name_role(role))
            os._exit(1)
        exit_child(setup)

    def reap(self) -> Iterator[tuple[Child, str]]:
        """Yield each child that has exited, with the reason. Its gauges are cleared and its restart is scheduled."""
        for child in self.alive:
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if not pid:
                continue
            now = time.monotonic()
            is_stable = now - child.started_at >= STABLE_AFTER_S
            pause_s = RESTART_PAUSES_S[0 if is_stable else min(child.early_exits, len(RESTART_PAUSES_S) - 1)]
            child.early_exits = 1 if is_stable else child.early_exits + 1
            child.restart_at = now + pause_s
            child.pid = 0
            self._clear_gauges(child.role)
            code = os.waitstatus_to_exitcode(status)
            yield child, f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"

    def _clear_gauges(self, role: int) -> None:
        names = self._board.directory.names
        self._board.clear_gauges(role, [slot for name, slot in names.items() if name.startswith("gauge.")])

    def broadcast(self, message: Message, *, but: Child | None = None) -> None:
        """Send a message to all running children except `but`."""
        for child in self.alive:
            if child is not but:
                child.send(message)

    def send_to(self, role: int, message: Message) -> None:
        """Send a message to the child of a role, if it has a process."""
        for child in self._all:
            if child.role == role:
                child.send(message)

    def kill(self) -> None:
        """Kill all children and wait for their exit."""
        for child in self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
        for child in self.alive:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child.pid, 0)
            child.pid = 0
