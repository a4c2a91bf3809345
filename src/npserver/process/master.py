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
from npserver.process.channel import Channel, ChannelClosed
from npserver.process.child import Seat, name_role
from npserver.process.children import HANDLED_SIGNALS, Crew, Member
from npserver.process.dry_run import rehearse
from npserver.process.limits import find_identity
from npserver.process.loop import import_loop
from npserver.process.options import WATCH_PERIOD_S, Plan, warn_of_unchangeable
from npserver.process.privileged import Handover
from npserver.process.reload import Swap
from npserver.runtime.scoreboard import Directory, Scoreboard
from npserver.tls.certificates import CertificateStore

if TYPE_CHECKING:
    pass

log = logging.getLogger("npserver.server")

STARTING_DEATHS = 3  # by signals; a child that gives up by itself while starting is not started again
STOP_GRACE_S = 2.0  # beyond timeouts.shutdown, for children to end by themselves


class Master:
    """One run of the program with worker processes."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._document = plan.document
        self._identity = find_identity(plan.document)
        self._board = Scoreboard(plan.workers, os.urandom(16))
        self._certificates = CertificateStore()
        is_changed = self._identity is not None and self._identity.user != os.geteuid()
        self._handover = Handover(self._identity, self._certificates) if self._identity and is_changed else None
        self._runtime = rehearse(plan.document, self._board.directory, self._certificates)
        self._certificates.make_spares()
        self._bindings = Bindings(plan.workers, systemd.inherited_sockets())
        self._crew = Crew(plan.workers, self._board, self._take_seat, self._leave_master)
        self._selector = selectors.DefaultSelector()
        self._news: dict[str, Any] = {}
        self._wakeup = socket.socketpair()
        self._control: socket.socket | None = None
        self._callers: list[socket.socket] = []  # `npserver reload` commands waiting for an answer
        self._is_announced = False
        self._swap: Swap | None = None
        self._reload_again = False
        self._changed_at = plan.source.changed_at()
        self._next_look = time.monotonic() + WATCH_PERIOD_S
        self._next_handover = time.monotonic() + privileged.PERIOD_S
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
            if self._plan.source.file:
                self._control = control_socket.open_control(self._plan.source.file)
            if self._control is not None:
                self._selector.register(self._control, selectors.EVENT_READ, self._accept_caller)
            if self._handover is not None:
                self._handover.create_log(self._document)
            import_loop()
            gc.freeze()  # what exists now is shared with the children: the collector must not touch it
            gc.enable()
            for member in self._crew.members:
                self._start(member)
            while self._status is None:
                self._turn()
        finally:
            self._crew.kill()
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
            if not self._crew.alive:
                self._status = 1 if self._failed else 0
            elif now >= self._stop_deadline:
                log.warning("ending %d processes that did not stop in time", len(self._crew.alive))
                self._status = 1
            return
        for member in self._crew.members:
            if not member.pid and member.restart_at <= now:
                self._start(member)
        if self._swap is not None and now >= self._swap.deadline:
            self._abandon_swap(["a process did not compile the config in time"])
        if self._plan.watch and now >= self._next_look:
            self._next_look = now + WATCH_PERIOD_S
            changed_at = self._plan.source.changed_at()
            if changed_at is not None and changed_at != self._changed_at:
                self.reload()
        if self._handover is not None and now >= self._next_handover:
            self._next_handover = now + privileged.PERIOD_S
            for message in self._handover.look():
                self._crew.broadcast(message)
        for member in self._crew.alive:
            self._await(member)

    def _time_to_wait(self) -> float | None:
        now = time.monotonic()
        if self._stop_deadline is not None:
            return max(self._stop_deadline - now, 0)
        due = [member.restart_at for member in self._crew.members if not member.pid]
        if self._swap is not None:
            due.append(self._swap.deadline)
        if self._plan.watch:
            due.append(self._next_look)
        if self._handover is not None and self._certificates.identities:
            due.append(self._next_handover)
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
                    if self._handover is not None:
                        self._handover.create_log(self._document)
                    self._crew.broadcast({"kind": "reopen"})
        for member, how in self._crew.reap():
            self._buried(member, how)

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
        if self._swap is not None:
            self._abandon_swap(["the server is stopping"])
        self._bindings.close()
        self._crew.broadcast({"kind": "stop", "timeout_s": timeout_s})
        for member in self._crew.alive:
            self._await(member)
        self._stop_deadline = time.monotonic() + timeout_s + STOP_GRACE_S

    # ── children ──

    def _start(self, member: Member) -> None:
        self._crew.fork(member)
        assert member.channel is not None
        serve: Callable[[int], None] = lambda mask: self._serve_channel(member, mask)  # noqa: E731
        self._selector.register(member.channel, selectors.EVENT_READ, serve)
        if self._swap is not None:
            self._swap.propose(member)

    def _take_seat(self, role: int, channel: Channel) -> Seat:
        """In a new child, which has still all privileges: what it is to work with."""
        if self._handover is not None:
            self._certificates.files.supply(self._certificates.files.contents())
        return Seat(
            role, channel, self._board, self._plan.source, self._document, self._bindings.sockets(role), self._news,
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
        if self._swap is not None:
            for key in self._swap.new_keys:
                self._swap.bindings[key].close(unlink=False)

    def _buried(self, member: Member, how: str) -> None:
        """A child has ended."""
        self._serve_channel(member, selectors.EVENT_READ)  # its last words: it may have been ready
        self._hang_up(member)
        if self._swap is not None:
            self._swap.awaited.discard(member)
        if self._stop_deadline is not None:
            return
        is_hopeless = not how.startswith("signal") or member.young_deaths > STARTING_DEATHS
        if not self._is_announced and not member.is_ready and is_hopeless:
            log.error("%s ended while starting (%s)", name_role(member.role), how)
            self._failed = True
            self._stop_children(0)
            return
        pause_s = max(member.restart_at - time.monotonic(), 0)
        when = f" in {pause_s:.1f} s" if pause_s else ""
        log.error("%s ended (%s), starting it again%s", name_role(member.role), how, when)

    def _hang_up(self, member: Member) -> None:
        if member.channel is not None:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(member.channel)
            member.channel.close()
            member.channel = None

    def _await(self, member: Member) -> None:
        """Wait for what a child's channel is good for now."""
        if member.channel is not None:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if member.channel.wants_write else 0)
            key = self._selector.get_map().get(member.channel)
            if key is not None and key.events != events:
                self._selector.modify(member.channel, events, key.data)

    def _serve_channel(self, member: Member, mask: int) -> None:
        channel = member.channel
        if channel is None:
            return
        try:
            if mask & selectors.EVENT_WRITE:
                channel.flush()
            messages = channel.receive() if mask & selectors.EVENT_READ else []
        except ChannelClosed:
            self._hang_up(member)  # its end follows as a signal
            return
        for message, _ in messages:
            if message["kind"] == "ready":
                self._welcome(member)
            elif message["kind"] == "news":
                self._news[message["topic"]] = message["value"]
                self._crew.broadcast(message, but=member)
            elif message["kind"] == "prepared":
                self._take_prepared(member, message["error"])

    def _welcome(self, member: Member) -> None:
        member.is_ready = True
        is_stopping = self._stop_deadline is not None
        if not self._is_announced and not is_stopping and all(one.is_ready for one in self._crew.members):
            self._is_announced = True
            self._plan.announce(self._runtime, self._bindings.current)
            systemd.notify("READY=1", f"MAINPID={os.getpid()}")

    # ── reload ──

    def reload(self) -> None:
        """Read the config again; if all of it is good, swap to it in all processes."""
        if self._swap is not None:
            self._reload_again = True
            return
        systemd.notify("RELOADING=1")
        self._changed_at = self._plan.source.changed_at()
        directory = Directory()
        directory.names.update(self._board.directory.names)
        try:
            text = self._plan.source.read()
            document = self._plan.source.document(text)
            runtime = rehearse(document, directory, self._certificates)
            bindings = self._bindings.prepare(runtime.listeners)
        except (ConfigError, StartError) as error:
            self._finish_reload(str(error).splitlines())
            return
        new_keys = frozenset(bindings.keys() - self._bindings.current.keys())
        places = self._certificates.places()
        self._swap = Swap(text, document, runtime, bindings, new_keys, directory.names, places)
        if self._handover is not None:
            self._handover.create_log(document)
            self._crew.broadcast(self._handover.supplies())
        for member in self._crew.alive:
            self._swap.propose(member)

    def _take_prepared(self, member: Member, error: str) -> None:
        if self._swap is None:
            return
        self._swap.awaited.discard(member)
        if error:
            self._abandon_swap([f"{name_role(member.role)}: {line}" for line in error.splitlines()])
        elif not self._swap.awaited:
            self._commit_swap(self._swap)

    def _commit_swap(self, swap: Swap) -> None:
        self._swap = None
        warn_of_unchangeable(self._document, swap.document)
        # Sockets that go are closed here first: whoever closes last resets what is queued, and only workers can accept.
        self._bindings.commit(swap.bindings, swap.runtime.listeners)
        self._board.directory.names.update(swap.slots)
        self._crew.broadcast({"kind": "commit"})
        self._document, self._runtime = swap.document, swap.runtime
        logs.configure(swap.document.config.logging)
        for problem in swap.runtime.warnings:
            log.warning("%s", problem)
        self._finish_reload([])

    def _abandon_swap(self, errors: list[str]) -> None:
        assert self._swap is not None
        swap, self._swap = self._swap, None
        self._crew.broadcast({"kind": "abandon"})
        self._bindings.abandon(swap.bindings)
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
