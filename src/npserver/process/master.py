"""The master process: owns every listening socket, forks the children, and waits for signals and their messages.

It has no event loop, does no network I/O and starts no threads, so that nothing a client sends can crash it. The
children are started and restarted by `process.children`; reloads are run by `process.reload`.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

from npserver.config.control_place import placed_control
from npserver.observe.last_errors import keep
from npserver.process import preload, privileged, systemd
from npserver.process.bindings import Bindings
from npserver.process.child import ChildSetup, name_role
from npserver.process.children import HANDLED_SIGNALS, Child, Children
from npserver.process.control import places
from npserver.process.control.commands import ServerCommands
from npserver.process.control.host import Host, ProcessState
from npserver.process.control.protocol import Answer, Reply, Request
from npserver.process.control.server import NEVER, ControlServer
from npserver.process.dry_run import dry_run
from npserver.process.explaining import with_failed_tests
from npserver.process.limits import find_identity
from npserver.process.loop import import_loop
from npserver.process.message_channel import ChannelClosed, MessageChannel
from npserver.process.options import RunOptions
from npserver.process.privileged import PrivilegedSteps
from npserver.process.reload import ActiveConfig, Reloader
from npserver.process.reload_outcome import ReloadOutcome
from npserver.process.signals import SAME_STOP_S, Terminal
from npserver.process.title import set_title
from npserver.process.upgrade.succession import Succession
from npserver.process.upgrade.upgrader import BUSY, Upgrader
from npserver.runtime.pubsub import MASTER
from npserver.runtime.scoreboard import Scoreboard
from npserver.tls.store import TICKETS_TOPIC, CertificateStore

log = logging.getLogger("npserver.server")

MAX_EARLY_EXITS = 3  # during start-up and by a signal; a child that exits by itself during start-up is not restarted
STOP_GRACE_S = 2.0  # added to timeouts.shutdown before children are killed


class Master:
    """One run of the program with worker processes."""

    def __init__(self, options: RunOptions) -> None:
        self._options = options
        self._began_at = time.monotonic()
        document = options.document
        board = Scoreboard(options.workers, os.urandom(16), rate_limit_keys=document.config.limits.rate_limit_keys)
        keep(board.last_errors, board.last_errors.rows - 1)
        certificates = CertificateStore()
        runtime = with_failed_tests(dry_run(document, board.directory, certificates))
        self._identity = find_identity(document)
        changes_user = self._identity is not None and self._identity.user != os.geteuid()
        self._privileged = PrivilegedSteps(self._identity, certificates) if self._identity and changes_user else None
        owner = self._identity.user if self._identity and changes_user else None
        before = options.predecessor
        if before is not None:
            bindings = Bindings(options.workers, before.inherited, before.handed, owner)
            certificates.take_secrets(before.secrets)
        else:
            bindings = Bindings(options.workers, systemd.inherited_sockets(), owner=owner)
        self._active = ActiveConfig(document, runtime, bindings, board, certificates)
        self._selector = selectors.DefaultSelector()
        self._wakeup = socket.socketpair()
        self._news: dict[str, Any] = dict(before.news) if before else {}  # of each topic, for children forked later
        self._children = Children(options.workers, board, self._setup_for, self._leave_master)
        self._commands = ServerCommands(
            Host(
                board, options.source.file, self._began_at, bindings, lambda: self._news, self._tell, self._publish,
                self.reload,
                lambda: self._active.runtime, lambda: list(self._processes()), lambda: self._stop_deadline is not None,
            )
        )  # fmt: skip
        self._control = ControlServer(self._selector, {**self._commands.all(), "upgrade": self._upgrade})
        self._reloader = Reloader(self._active, options, self._children, self._privileged, self._reload_finished)
        self._upgrader = Upgrader(self._active, self._children, self._control, self._selector, self._news, self._retire)
        self._left: list[str] | None = None  # the listeners that a successor serves, once it does
        self._succession = (
            None
            if before is None
            else Succession(before, self._active, self._children, self._news, self._open_control, self._give_up)
        )
        self._is_announced = False
        self._next_certificate_check = time.monotonic() + privileged.PERIOD_S
        # Stopping
        self._terminal = Terminal()
        self._stopped_at = 0.0  # by a signal
        self._stop_deadline: float | None = None
        self._failed = False
        self._status: int | None = None  # the exit status, once all children have exited

    def run(self) -> int:
        """Serve until told to stop. Return the exit status. Raises: StartError when a socket cannot be bound."""
        bindings, listeners = self._active.bindings, self._active.runtime.listeners
        self._catch_signals()
        set_title(f"npserver: master {self._options.source.file}".rstrip())
        try:
            with places.explaining_second_start("" if self._succession else self._options.source.file):
                bindings.commit(bindings.prepare(listeners), listeners)
            if self._succession is None:
                self._open_control({})
            if self._privileged is not None:
                self._privileged.create_log(self._active.document)
            import_loop()
            if self._privileged is not None:
                preload.import_all(self._active.runtime.services)
            gc.freeze()  # objects made so far are shared with the children: a collection would copy their pages
            gc.enable()
            if self._succession is not None:
                self._succession.begin(self._selector)
            for child in self._children:
                self._start(child)
            while self._status is None:
                self._turn()
        finally:
            self._children.kill()
            bindings.close()
            self._control.close()
        return self._status

    def reload(self) -> None:
        """Read the config again and switch all processes to it, or keep the current one if any of them cannot."""
        if self._upgrader.is_running:
            log.warning("no reload: %s, which reads the config", BUSY)
            self._commands.reload_finished(ReloadOutcome([BUSY]))
        else:
            self._reloader.start()

    def _reload_finished(self, outcome: ReloadOutcome) -> None:
        if outcome.is_in_use and self._options.source.file:
            self._control.place(placed_control(self._active.document))
        self._commands.reload_finished(outcome)

    def _publish(self, topic: str, value: Any) -> None:
        self._news[topic] = value
        self._children.broadcast({"kind": "published", "topic": topic, "value": value})

    def _tell(self, role: int, topic: str, value: Any) -> None:
        self._children.send_to(role, {"kind": "told", "role": role, "topic": topic, "value": value})

    def _processes(self) -> Iterator[ProcessState]:
        now = time.monotonic()
        yield ProcessState("master", os.getpid(), round(now - self._began_at, 1))
        for child in self._children:
            age_s = round(now - child.started_at, 1) if child.pid else 0.0
            yield ProcessState(name_role(child.role), child.pid, age_s, max(0, child.starts - 1), child.is_ready)

    # ── upgrade: `process.upgrade` ──

    def _upgrade(self, request: Request, reply: Reply) -> None:
        if self._reloader.is_running:
            reply(Answer(["a reload is in progress: try again"]))
        else:
            self._upgrader.start(request, reply)

    def _retire(self, listeners: list[str]) -> None:
        """End, as a successor serves these listeners."""
        self._left = listeners
        self._stop_children(self._active.document.config.timeouts.shutdown)

    def _open_control(self, handed: dict[str, socket.socket]) -> None:
        if self._options.source.file:
            self._control.open(self._options.source.file, placed_control(self._active.document), handed)

    def _give_up(self) -> None:
        """End, as the predecessor goes on without this program."""
        if self._stop_deadline is None:
            self._failed = True
            self._stop_children(0)

    # ── main loop ──

    def _turn(self) -> None:
        """Wait for the next event or deadline, and handle it."""
        for key, mask in self._selector.select(self._time_to_wait()):
            key.data(mask)
        now = time.monotonic()
        self._upgrader.check(now)
        if self._stop_deadline is not None:
            if not self._children.alive and not self._upgrader.is_running:
                self._status = 1 if self._failed else 0
            elif now >= self._stop_deadline:
                log.warning("killing %d processes that did not exit in time", len(self._children.alive))
                self._status = 1
            return
        for child in self._children:
            if not child.pid and child.restart_at <= now:
                self._start(child)
        if not self._upgrader.is_running and not self._awaits_go:
            self._reloader.check(now)
        self._control.expire(now)
        self._commands.expire(now)
        if self._privileged is not None and now >= self._next_certificate_check:
            self._next_certificate_check = now + privileged.PERIOD_S
            for message in self._privileged.check_certificates():
                self._children.broadcast(message)
        for child in self._children.alive:
            self._watch_channel(child)

    def _time_to_wait(self) -> float | None:
        now = time.monotonic()
        due = self._upgrader.due_times()
        if self._stop_deadline is not None:
            return max(min([*due, self._stop_deadline]) - now, 0)
        due += [child.restart_at for child in self._children if not child.pid]
        due += self._reloader.due_times()
        due += [at for at in (self._control.due, self._commands.due) if at < NEVER]
        if self._privileged is not None and self._active.certificates.loaded:
            due.append(self._next_certificate_check)
        return max(min(due) - now, 0) if due else None

    # ── signals ──

    def _catch_signals(self) -> None:
        ours, theirs = self._wakeup
        ours.setblocking(False)
        theirs.setblocking(False)
        signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        for number in HANDLED_SIGNALS:
            signal.signal(number, lambda *_: None)
        self._selector.register(ours, selectors.EVENT_READ, self._take_signals)

    def _take_signals(self, _mask: int) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in self._wakeup[0].recv(4096):
                if number in (signal.SIGTERM, signal.SIGINT):
                    self._stop(number)
                elif number == signal.SIGHUP and self._terminal.is_closed:
                    self._stop_with_terminal()
                elif number == signal.SIGHUP:
                    self.reload()
                elif number == signal.SIGUSR1:
                    if self._privileged is not None:
                        self._privileged.create_log(self._active.document)
                    self._children.broadcast({"kind": "reopen"})
        for child, how in self._children.reap():
            self._child_exited(child, how)

    def _stop(self, number: int) -> None:
        """Shut down gracefully on the first signal, immediately on the second."""
        now = time.monotonic()
        if self._stop_deadline is not None:
            if now < self._stopped_at + SAME_STOP_S:
                return
            log.warning("second signal: exiting immediately")
            self._status = 128 + number
            return
        self._stopped_at = now
        timeout_s = self._active.document.config.timeouts.shutdown
        log.info("shutting down: waiting up to %g s for active requests (timeouts.shutdown)", timeout_s)
        self._stop_children(timeout_s)

    def _stop_with_terminal(self) -> None:
        if self._stop_deadline is None:
            log.info("the terminal was closed")
            self._stop(signal.SIGHUP)

    def _stop_children(self, timeout_s: float) -> None:
        if self._left is None and not self._awaits_go:
            systemd.notify("STOPPING=1")
        self._upgrader.stop()
        self._reloader.stop()
        self._control.is_stopping = True
        self._active.bindings.close()
        self._children.broadcast({"kind": "stop", "timeout_s": timeout_s, "left": self._left})
        for child in self._children.alive:
            self._watch_channel(child)
        self._stop_deadline = time.monotonic() + timeout_s + STOP_GRACE_S

    # ── children ──

    def _start(self, child: Child) -> None:
        self._children.fork(child)
        assert child.channel is not None
        serve: Callable[[int], None] = lambda mask: self._serve_channel(child, mask)  # noqa: E731
        self._selector.register(child.channel, selectors.EVENT_READ, serve)
        self._reloader.child_started(child)

    def _setup_for(self, role: int, channel: MessageChannel) -> ChildSetup:
        """Return the setup of a new child. Runs in the child, before it gives up privileges."""
        active = self._active
        if self._privileged is not None:
            active.certificates.files.supply(active.certificates.files.contents())
        return ChildSetup(
            role, channel, active.board, self._options.source, active.document, active.bindings.sockets(role),
            self._news, self._identity, active.certificates, self._awaits_go,
        )  # fmt: skip

    def _leave_master(self, role: int) -> None:
        """Close what belongs to the master. Runs in a new child."""
        self._selector.close()
        for end in self._wakeup:
            end.close()
        self._control.close_in_child()
        self._upgrader.close_in_child()
        if self._succession is not None:
            self._succession.close_in_child()
        self._active.bindings.close_all_but(role)
        self._reloader.close_new_sockets()

    def _child_exited(self, child: Child, how: str) -> None:
        self._serve_channel(child, selectors.EVENT_READ)  # messages that it sent before it exited
        self._close_channel(child)
        self._reloader.child_exited(child)
        self._upgrader.child_left(child)
        if self._succession is not None:
            self._succession.child_exited(child)
        if self._stop_deadline is not None:
            return
        gives_up = not how.startswith("signal") or child.early_exits > MAX_EARLY_EXITS
        if not self._is_announced and not child.is_ready and gives_up:
            log.error("%s exited during start-up (%s)", name_role(child.role), how)
            self._failed = True
            self._stop_children(0)
            return
        pause_s = max(child.restart_at - time.monotonic(), 0)
        when = f" in {pause_s:.1f} s" if pause_s else ""
        log.error("%s exited (%s), restarting it%s", name_role(child.role), how, when)

    @property
    def _awaits_go(self) -> bool:
        return self._succession is not None and self._succession.awaits_go

    def _child_ready(self, child: Child) -> None:
        child.is_ready = True
        self._reloader.child_ready(child)
        is_stopping = self._stop_deadline is not None
        if not self._is_announced and not is_stopping and all(one.is_ready for one in self._children):
            self._is_announced = True
            self._options.announce(self._active.runtime, self._active.bindings.current)
            if self._succession is not None:
                self._commands.keep_drains()  # those of the predecessor
                self._succession.serving()
            systemd.notify("READY=1", f"MAINPID={os.getpid()}")

    # ── channels to the children ──

    def _close_channel(self, child: Child) -> None:
        if child.channel is not None:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(child.channel)
            child.channel.close()
            child.channel = None

    def _watch_channel(self, child: Child) -> None:
        """Wait for writability too, as long as messages to the child are queued."""
        if child.channel is not None:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if child.channel.wants_write else 0)
            key = self._selector.get_map().get(child.channel)
            if key is not None and key.events != events:
                self._selector.modify(child.channel, events, key.data)

    def _serve_channel(self, child: Child, mask: int) -> None:
        channel = child.channel
        if channel is None:
            return
        try:
            if mask & selectors.EVENT_WRITE:
                channel.flush()
            messages = channel.receive() if mask & selectors.EVENT_READ else []
        except ChannelClosed:
            self._close_channel(child)  # its exit is reported by SIGCHLD
            return
        for message, _ in messages:
            if message["kind"] == "ready":
                self._child_ready(child)
            elif message["kind"] == "compiled" and self._succession is not None:
                self._succession.child_compiled(child)
            elif message["kind"] == "left":
                self._upgrader.child_left(child)
            elif message["kind"] == "published":
                self._news[message["topic"]] = message["value"]
                if message["topic"] == TICKETS_TOPIC:
                    self._active.certificates.take_secrets(message["value"])  # and forget the older ones
                self._children.broadcast(message, but=child)
            elif message["kind"] == "told" and message["role"] == MASTER:
                self._commands.drain_asked(message["value"])
            elif message["kind"] == "told":
                self._children.send_to(message["role"], message)
            elif message["kind"] == "prepared":
                self._reloader.child_prepared(child, message["error"])
            elif message["kind"] == "committed":
                self._reloader.child_committed(child, message["error"])
