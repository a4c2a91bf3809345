"""The master: owns every listening socket and the children, waits for signals and messages, and does nothing else.

No event loop, no network I/O, no threads: nothing that can crash it. It forks (`process.children`), passes the
children's news on, and leads reloads (`process.reload`)."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from npserver.errors import ConfigError, StartError
from npserver.observe import logs
from npserver.process import control_socket, privileged, systemd
from npserver.process.bindings import Bindings
from npserver.process.child import ChildSetup, name_role
from npserver.process.children import HANDLED_SIGNALS, Child, Children
from npserver.process.dry_run import dry_run
from npserver.process.limits import find_identity
from npserver.process.loop import import_loop
from npserver.process.message_channel import ChannelClosed, MessageChannel
from npserver.process.options import WATCH_PERIOD_S, RunOptions, warn_of_unchangeable
from npserver.process.privileged import PrivilegedSteps
from npserver.process.reload import Reload
from npserver.runtime.scoreboard import Directory, Scoreboard
from npserver.tls.certificates import CertificateStore

if TYPE_CHECKING:
    pass

log = logging.getLogger("npserver.server")

MAX_EARLY_EXITS = 3  # by signals; a child that gives up by itself while starting is not started again
STOP_GRACE_S = 2.0  # beyond timeouts.shutdown, for children to end by themselves


class Master:
    """One run of the program with worker processes."""

    def __init__(self, options: RunOptions) -> None:
        self._options = options
        self._document = options.document
        self._identity = find_identity(options.document)
        self._board = Scoreboard(options.workers, os.urandom(16))
        self._certificates = CertificateStore()
        is_changed = self._identity is not None and self._identity.user != os.geteuid()
        self._privileged = (
            PrivilegedSteps(self._identity, self._certificates) if self._identity and is_changed else None
        )
        self._runtime = dry_run(options.document, self._board.directory, self._certificates)
        self._certificates.make_spares()
        self._bindings = Bindings(options.workers, systemd.inherited_sockets())
        self._children = Children(options.workers, self._board, self._setup_for, self._leave_master)
        self._selector = selectors.DefaultSelector()
        self._news: dict[str, Any] = {}
        self._wakeup = socket.socketpair()
        self._control: socket.socket | None = None
        self._callers: list[socket.socket] = []  # `npserver reload` commands waiting for an answer
        self._is_announced = False
        self._pending_reload: Reload | None = None
        self._reload_again = False
        self._changed_at = options.source.changed_at()
        self._next_look = time.monotonic() + WATCH_PERIOD_S
        self._next_certificate_check = time.monotonic() + privileged.PERIOD_S
        # Stopping
        self._stop_deadline: float | None = None
        self._failed = False
        self._status: int | None = None  # set when all is over

    def run(self) -> int:
        """Serve until told to stop. Gives the exit status. Raises: StartError when a socket cannot be bound."""
        listeners = self._runtime.listeners
        self._catch_signals()
        try:
            self._bindings.commit(self._bindings.prepare(listeners), listeners)
            if self._options.source.file:
                self._control = control_socket.open_control(self._options.source.file)
            if self._control is not None:
                self._selector.register(self._control, selectors.EVENT_READ, self._accept_caller)
            if self._privileged is not None:
                self._privileged.create_log(self._document)
            import_loop()
            gc.freeze()  # what exists now is shared with the children: the collector must not touch it
            gc.enable()
            for child in self._children:
                self._start(child)
            while self._status is None:
                self._turn()
        finally:
            self._children.kill()
            self._bindings.close()
            if self._control is not None:
                control_socket.close_control(self._control)
        return self._status

    # ── the loop ──

    def _turn(self) -> None:
        """Wait for something to happen, and do what is due."""
        for key, mask in self._selector.select(self._time_to_wait()):
            key.data(mask)
        now = time.monotonic()
        if self._stop_deadline is not None:
            if not self._children.alive:
                self._status = 1 if self._failed else 0
            elif now >= self._stop_deadline:
                log.warning("ending %d processes that did not stop in time", len(self._children.alive))
                self._status = 1
            return
        for child in self._children:
            if not child.pid and child.restart_at <= now:
                self._start(child)
        if self._pending_reload is not None and now >= self._pending_reload.deadline:
            self._abandon_reload(["a process did not compile the config in time"])
        if self._options.watch and now >= self._next_look:
            self._next_look = now + WATCH_PERIOD_S
            changed_at = self._options.source.changed_at()
            if changed_at is not None and changed_at != self._changed_at:
                self.reload()
        if self._privileged is not None and now >= self._next_certificate_check:
            self._next_certificate_check = now + privileged.PERIOD_S
            for message in self._privileged.look():
                self._children.broadcast(message)
        for child in self._children.alive:
            self._await(child)

    def _time_to_wait(self) -> float | None:
        now = time.monotonic()
        if self._stop_deadline is not None:
            return max(self._stop_deadline - now, 0)
        due = [child.restart_at for child in self._children if not child.pid]
        if self._pending_reload is not None:
            due.append(self._pending_reload.deadline)
        if self._options.watch:
            due.append(self._next_look)
        if self._privileged is not None and self._certificates.identities:
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
                elif number == signal.SIGHUP:
                    self.reload()
                elif number == signal.SIGUSR1:
                    if self._privileged is not None:
                        self._privileged.create_log(self._document)
                    self._children.broadcast({"kind": "reopen"})
        for child, how in self._children.reap():
            self._child_exited(child, how)

    def _stop(self, number: int) -> None:
        """Stop: gracefully on the first signal, at once on the second."""
        if self._stop_deadline is not None:
            log.warning("second signal: ending at once")
            self._status = 128 + number
            return
        timeout_s = self._document.config.timeouts.shutdown
        log.info("stopping, exchanges in flight have %g s (timeouts.shutdown)", timeout_s)
        self._stop_children(timeout_s)

    def _stop_children(self, timeout_s: float) -> None:
        systemd.notify("STOPPING=1")
        if self._pending_reload is not None:
            self._abandon_reload(["the server is stopping"])
        self._bindings.close()
        self._children.broadcast({"kind": "stop", "timeout_s": timeout_s})
        for child in self._children.alive:
            self._await(child)
        self._stop_deadline = time.monotonic() + timeout_s + STOP_GRACE_S

    # ── children ──

    def _start(self, child: Child) -> None:
        self._children.fork(child)
        assert child.channel is not None
        serve: Callable[[int], None] = lambda mask: self._serve_channel(child, mask)  # noqa: E731
        self._selector.register(child.channel, selectors.EVENT_READ, serve)
        if self._pending_reload is not None:
            self._pending_reload.propose(child)

    def _setup_for(self, role: int, channel: MessageChannel) -> ChildSetup:
        """In a new child, which has still all privileges: what it is to work with."""
        if self._privileged is not None:
            self._certificates.files.supply(self._certificates.files.contents())
        return ChildSetup(
            role, channel, self._board, self._options.source, self._document, self._bindings.sockets(role), self._news,
            self._identity, self._certificates,
        )  # fmt: skip

    def _leave_master(self, role: int) -> None:
        """In a new child: close what is the master's."""
        self._selector.close()
        for one in (*self._wakeup, *self._callers):
            one.close()
        if self._control is not None:
            self._control.close()
        self._bindings.close_all_but(role)
        if self._pending_reload is not None:
            for key in self._pending_reload.new_keys:
                self._pending_reload.bindings[key].close(unlink=False)

    def _child_exited(self, child: Child, how: str) -> None:
        """A child has ended."""
        self._serve_channel(child, selectors.EVENT_READ)  # its last words: it may have been ready
        self._hang_up(child)
        if self._pending_reload is not None:
            self._pending_reload.awaited.discard(child)
        if self._stop_deadline is not None:
            return
        is_hopeless = not how.startswith("signal") or child.early_exits > MAX_EARLY_EXITS
        if not self._is_announced and not child.is_ready and is_hopeless:
            log.error("%s ended while starting (%s)", name_role(child.role), how)
            self._failed = True
            self._stop_children(0)
            return
        pause_s = max(child.restart_at - time.monotonic(), 0)
        when = f" in {pause_s:.1f} s" if pause_s else ""
        log.error("%s ended (%s), starting it again%s", name_role(child.role), how, when)

    def _hang_up(self, child: Child) -> None:
        if child.channel is not None:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(child.channel)
            child.channel.close()
            child.channel = None

    def _await(self, child: Child) -> None:
        """Wait for what a child's channel is good for now."""
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
            self._hang_up(child)  # its end follows as a signal
            return
        for message, _ in messages:
            if message["kind"] == "ready":
                self._child_ready(child)
            elif message["kind"] == "news":
                self._news[message["topic"]] = message["value"]
                self._children.broadcast(message, but=child)
            elif message["kind"] == "prepared":
                self._take_prepared(child, message["error"])

    def _child_ready(self, child: Child) -> None:
        child.is_ready = True
        is_stopping = self._stop_deadline is not None
        if not self._is_announced and not is_stopping and all(one.is_ready for one in self._children):
            self._is_announced = True
            self._options.announce(self._runtime, self._bindings.current)
            systemd.notify("READY=1", f"MAINPID={os.getpid()}")

    # ── reload ──

    def reload(self) -> None:
        """Read the config again; if all of it is good, swap to it in all processes."""
        if self._pending_reload is not None:
            self._reload_again = True
            return
        systemd.notify("RELOADING=1")
        self._changed_at = self._options.source.changed_at()
        directory = Directory()
        directory.names.update(self._board.directory.names)
        try:
            text = self._options.source.read()
            document = self._options.source.document(text)
            runtime = dry_run(document, directory, self._certificates)
            bindings = self._bindings.prepare(runtime.listeners)
        except (ConfigError, StartError) as error:
            self._finish_reload(str(error).splitlines())
            return
        new_keys = frozenset(bindings.keys() - self._bindings.current.keys())
        places = self._certificates.places()
        self._pending_reload = Reload(text, document, runtime, bindings, new_keys, directory.names, places)
        if self._privileged is not None:
            self._privileged.create_log(document)
            self._children.broadcast(self._privileged.supplies())
        for child in self._children.alive:
            self._pending_reload.propose(child)

    def _take_prepared(self, child: Child, error: str) -> None:
        if self._pending_reload is None:
            return
        self._pending_reload.awaited.discard(child)
        if error:
            self._abandon_reload([f"{name_role(child.role)}: {line}" for line in error.splitlines()])
        elif not self._pending_reload.awaited:
            self._commit_reload(self._pending_reload)

    def _commit_reload(self, pending: Reload) -> None:
        self._pending_reload = None
        warn_of_unchangeable(self._document, pending.document)
        # Sockets that go are closed here first: whoever closes last resets what is queued, and only workers can accept.
        self._bindings.commit(pending.bindings, pending.runtime.listeners)
        self._board.directory.names.update(pending.slots)
        self._children.broadcast({"kind": "commit"})
        self._document, self._runtime = pending.document, pending.runtime
        logs.configure(pending.document.config.logging)
        for problem in pending.runtime.warnings:
            log.warning("%s", problem)
        self._finish_reload([])

    def _abandon_reload(self, errors: list[str]) -> None:
        assert self._pending_reload is not None
        pending, self._pending_reload = self._pending_reload, None
        self._children.broadcast({"kind": "abandon"})
        self._bindings.abandon(pending.bindings)
        self._finish_reload(errors)

    def _finish_reload(self, errors: list[str]) -> None:
        """Say how it went: in the log, to the service manager, and to who asked."""
        for line in errors:
            log.error("%s", line)
        if errors:
            log.error("the new config is not used, the old one goes on")
        else:
            log.info("config reloaded")
        systemd.notify("READY=1")
        callers, self._callers = self._callers, []
        for caller in callers:
            control_socket.answer(caller, errors)
        if self._reload_again:
            self._reload_again = False
            self.reload()

    def _accept_caller(self, _mask: int) -> None:
        assert self._control is not None
        with contextlib.suppress(BlockingIOError):
            caller, _ = self._control.accept()
            caller.setblocking(False)
            self._selector.register(caller, selectors.EVENT_READ, lambda _: self._hear_caller(caller))

    def _hear_caller(self, caller: socket.socket) -> None:
        self._selector.unregister(caller)
        try:
            request = caller.recv(len(control_socket.REQUEST))
        except OSError:
            request = b""
        if request != control_socket.REQUEST or self._stop_deadline is not None:
            control_socket.answer(caller, ["the server is stopping" if request else "nothing asked"])
            return
        self._callers.append(caller)
        self.reload()
