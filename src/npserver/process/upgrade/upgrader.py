"""Upgrades in the running master: starts the program again, hands it the listening sockets, and then ends.

`process.upgrade.predecessor` describes the messages. Until the new program is ready nothing changes here: if it fails,
or hangs, it is killed and this program goes on. Once it is ready, the children stop accepting and say so ("left"), the
new program is told to go, and the children serve their connections until these end, or `timeouts.shutdown` passes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field, to_builtins

from npserver.listen.drains import LISTENER_DRAINS
from npserver.network_sets.states import BAN_TOPICS
from npserver.process import systemd
from npserver.process.control.protocol import STOPPING, Answer
from npserver.process.message_channel import ChannelClosed, Message, MessageChannel
from npserver.process.upgrade.handed_sockets import to_message
from npserver.process.upgrade.predecessor import VARIABLE
from npserver.upstream.registry import DRAINS

if TYPE_CHECKING:
    from npserver.process.children import Child, Children
    from npserver.process.control.protocol import Reply, Request
    from npserver.process.control.server import ControlServer
    from npserver.process.reload import ActiveConfig

log = logging.getLogger("npserver.server")

LAUNCHER = "NPSERVER_LAUNCHER"  # the variable by which the launcher of a checkout names itself
START_WITHIN_S = 60.0  # for the new program to be ready, unless the command says otherwise
LEAVE_WITHIN_S = 5.0  # for the children to stop accepting
SERVE_WITHIN_S = 30.0  # for the new program to serve once it may
BUSY = "an upgrade is in progress"
#: Values of topics that begin with these are handed over.
_TOPICS = (BAN_TOPICS, "resolved:", DRAINS, LISTENER_DRAINS)


def command() -> list[str]:
    """Return the command line that started this program, as its interpreter or its launcher has to be started again."""
    launcher = os.environ.get(LAUNCHER, "")
    return [launcher, *sys.argv[1:]] if launcher else [sys.executable, *sys.orig_argv[1:]]


class Upgrade(Struct):
    """An upgrade in progress: the new program, and who waits for the outcome."""

    process: subprocess.Popen[bytes]
    channel: MessageChannel
    reply: Reply
    deadline: float
    within_s: float
    # Once it is ready
    is_ready: bool = False
    awaited: set[Child] = field(default_factory=set)  # children that have not stopped accepting
    has_gone: bool = False  # whether it has been told to go


class Upgrader:
    """Runs upgrades, one at a time."""

    def __init__(
        self,
        active: ActiveConfig,
        children: Children,
        control: ControlServer,
        selector: selectors.BaseSelector,
        latest: dict[str, Any],
        retire: Callable[[list[str]], None],
    ) -> None:
        """Create it.

        Args:
            active: the config in use.
            latest: the latest values of all topics.
            retire: lets the children stop accepting and end; is given the keys of the listeners that go on elsewhere.
        """
        self._active = active
        self._children = children
        self._control = control
        self._selector = selector
        self._latest = latest
        self._retire = retire
        self._current: Upgrade | None = None

    def __repr__(self) -> str:
        return f"<Upgrader {'busy' if self.is_running else 'idle'}>"

    @property
    def is_running(self) -> bool:
        """Whether an upgrade is in progress, or has been done and its outcome is not known yet."""
        return self._current is not None

    def start(self, request: Request, reply: Reply) -> None:
        """`upgrade`: start the new program; the result is its process id."""
        if self._current is not None:
            reply(Answer([BUSY]))
            return
        if os.getpid() == 1:
            reply(Answer(["npserver is process 1 of a container, which ends with it: start a new container instead"]))
            return
        within_s = request.arguments.get("seconds", START_WITHIN_S)
        if not isinstance(within_s, (int, float)) or not 0 < within_s <= 3600:
            reply(Answer(["seconds is a number of seconds up to 3600"]))
            return
        ours, theirs = MessageChannel.pair()
        try:
            number = theirs.fileno()
            environment = {**os.environ, VARIABLE: str(number)}
            process = subprocess.Popen(command(), env=environment, pass_fds=[number])
        except OSError as error:
            ours.close()
            reply(Answer([f"{command()[0]} cannot be started: {error.strerror}"]))
            return
        finally:
            theirs.close()
        log.info("upgrade: process %d starts, by %s", process.pid, command()[0])
        self._current = Upgrade(process, ours, reply, time.monotonic() + within_s, within_s)
        self._selector.register(ours, selectors.EVENT_READ, self._serve_channel)
        try:
            self._hand_over(ours)
        except ChannelClosed:
            self._fail(self._current, self._how_it_ended(process))

    def _hand_over(self, channel: MessageChannel) -> None:
        bindings = self._active.bindings
        for binding in bindings.current.values():
            channel.send(*to_message(binding))
        channel.send({"kind": "inherited"}, [one.fileno() for one in bindings.inherited])
        control = self._control.listening
        channel.send({"kind": "control", "paths": list(control)}, [one.fileno() for one in control.values()])
        secrets = to_builtins(self._active.certificates.secrets)
        channel.send({"kind": "state", "secrets": secrets, "news": self._news()})
        self._watch(channel)

    def _news(self) -> dict[str, Any]:
        return {topic: value for topic, value in self._latest.items() if topic.startswith(_TOPICS)}

    def _health(self) -> dict[str, int]:
        """Return what the controller knows of targets by the names of the slots."""
        board = self._active.board
        return {name: board.rows[0][slot] for name, slot in board.directory.names.items() if name.startswith("health.")}

    # ── called by the master ──

    def due_times(self) -> list[float]:
        """Return the times, of `time.monotonic`, by which `check` must be called."""
        return [self._current.deadline] if self._current is not None else []

    def check(self, now: float) -> None:
        """Act on a deadline that has passed."""
        current = self._current
        if current is None or now < current.deadline:
            return
        if not current.is_ready:
            self._fail(current, f"it was not ready within {current.within_s:g} s")
        elif not current.has_gone:
            log.warning("upgrade: %d processes have not stopped accepting in time", len(current.awaited))
            self._go(current)
        else:
            self._finish(current, Answer([f"process {current.process.pid} has not said in time that it serves"]))

    def child_left(self, child: Child) -> None:
        """A child has stopped accepting, or has exited."""
        current = self._current
        if current is not None and current.is_ready and not current.has_gone:
            current.awaited.discard(child)
            if not current.awaited:
                self._go(current)

    def stop(self) -> None:
        """This program is told to end: an upgrade that is not ready is given up."""
        if self._current is not None and not self._current.is_ready:
            self._fail(self._current, STOPPING)

    def close_in_child(self) -> None:
        """Close the channel in a forked child."""
        if self._current is not None:
            self._current.channel.close()

    # ── the new program ──

    def _watch(self, channel: MessageChannel) -> None:
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if channel.wants_write else 0)
        self._selector.modify(channel, events, self._serve_channel)

    def _serve_channel(self, mask: int) -> None:
        current = self._current
        if current is None:
            return
        try:
            if mask & selectors.EVENT_WRITE:
                current.channel.flush()
                self._watch(current.channel)
            messages = current.channel.receive() if mask & selectors.EVENT_READ else []
        except ChannelClosed:
            how = self._how_it_ended(current.process)
            if current.is_ready:
                log.error("upgrade: process %d ended after it was ready: %s", current.process.pid, how)
                self._finish(current, Answer([how]))
            else:
                self._fail(current, how)
            return
        for message, _ in messages:
            self._handle(current, message)

    def _handle(self, current: Upgrade, message: Message) -> None:
        if message["kind"] == "failed" and not current.is_ready:
            self._fail(current, "; ".join(message["errors"]))
        elif message["kind"] == "ready" and not current.is_ready:
            current.is_ready = True
            current.deadline = time.monotonic() + LEAVE_WITHIN_S
            current.awaited = set(self._children.alive)
            self._active.bindings.lend(message["listeners"])
            self._control.leave()
            self._retire(message["listeners"])
            if not current.awaited:
                self._go(current)
        elif message["kind"] == "serving":
            self._finish(current, Answer(result={"pid": current.process.pid}))

    def _go(self, current: Upgrade) -> None:
        current.has_gone = True
        current.deadline = time.monotonic() + SERVE_WITHIN_S
        systemd.notify("READY=1", f"MAINPID={current.process.pid}")
        with contextlib.suppress(ChannelClosed):
            current.channel.send({"kind": "go", "news": self._news(), "health": self._health()})
            self._watch(current.channel)

    def _how_it_ended(self, process: subprocess.Popen[bytes]) -> str:
        try:
            code = process.wait(1.0)
        except subprocess.TimeoutExpired:
            return "it closed its connection to this program"
        how = f"by signal {-code}" if code < 0 else f"with exit status {code}"
        return f"it ended {how} before it was ready: its output, on stderr, says why"

    # ── outcome ──

    def _fail(self, current: Upgrade, why: str) -> None:
        with contextlib.suppress(OSError):
            current.process.kill()
        current.process.wait()
        log.error("upgrade failed, this program goes on: %s", why)
        self._finish(current, Answer([why]))

    def _finish(self, current: Upgrade, answer: Answer) -> None:
        self._current = None
        self._selector.unregister(current.channel)
        current.channel.close()
        current.process.poll()
        current.process.returncode = current.process.returncode or 0  # it goes on without this program
        if not answer.errors:
            log.info("upgrade: process %d serves; this one ends with its connections", current.process.pid)
        current.reply(answer)
