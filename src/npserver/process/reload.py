"""Reloads in the master: every process switches to the new config, or none does.

First every process compiles the new config ("prepare"). Once all of them have done so they switch to it ("commit"); if
one fails, or takes too long, the current config stays in use everywhere ("abandon"). The outcome is known when every
process has said that it has switched. One that cannot exits, and is replaced by one that begins with the new config.
"""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct, field

from npserver.config.files import ConfigFiles
from npserver.errors import ConfigError, StartError
from npserver.observe import logs
from npserver.observe.reload_counters import count_reload
from npserver.process import systemd
from npserver.process.child import name_role
from npserver.process.control.protocol import STOPPING
from npserver.process.dry_run import dry_run
from npserver.process.explaining import refuse_failed_tests
from npserver.process.options import WATCH_PERIOD_S
from npserver.process.reload_outcome import ReloadOutcome, unchangeable
from npserver.runtime.scoreboard import Directory

if TYPE_CHECKING:
    from npserver.config.document import Document
    from npserver.listen.binding import Binding
    from npserver.process.bindings import Bindings
    from npserver.process.children import Child, Children
    from npserver.process.options import RunOptions
    from npserver.process.privileged import PrivilegedSteps
    from npserver.program.runtime import Runtime
    from npserver.runtime.scoreboard import Scoreboard
    from npserver.tls.store import CertificateStore

log = logging.getLogger("npserver.server")

PREPARE_WITHIN_S = 30.0
COMMIT_WITHIN_S = 30.0
MASTER = -2  # key of the master's own failures beside the roles of the children


class ActiveConfig(Struct):
    """The config in use, and what the master holds for it. A reload replaces the document and the runtime."""

    document: Document
    runtime: Runtime
    bindings: Bindings
    board: Scoreboard
    certificates: CertificateStore


class Reload(Struct):
    """A reload in progress: the new config, and the children that have not compiled it, or not switched to it, yet."""

    text: str
    document: Document
    runtime: Runtime
    bindings: dict[str, Binding]
    new_keys: frozenset[str]  # of the listeners that were bound for it
    slots: dict[str, int]  # of the scoreboard, by name
    awaited: set[Child] = field(default_factory=set)
    deadline: float = field(default_factory=lambda: time.monotonic() + PREPARE_WITHIN_S)
    # Once all children have compiled it
    is_committed: bool = False
    warnings: list[str] = field(default_factory=list)
    failures: dict[int, str] = field(default_factory=dict)  # by the role of the child, or MASTER

    def propose(self, child: Child) -> None:
        """Send the new sockets and the config's text to `child`, and wait for its result."""
        self.awaited.add(child)
        if child.role >= 0:
            for key in sorted(self.new_keys):
                sockets = self.bindings[key].sockets[child.role]
                child.send({"kind": "sockets", "key": key}, [one.fileno() for one in sockets])
        files = self.document.files.content()
        child.send({"kind": "prepare", "text": self.text, "files": files, "slots": self.slots})


class Reloader:
    """Runs reloads, one at a time. A request that comes during a reload starts another one after it."""

    def __init__(
        self,
        active: ActiveConfig,
        options: RunOptions,
        children: Children,
        privileged: PrivilegedSteps | None,
        on_finished: Callable[[ReloadOutcome], None],
    ) -> None:
        self._active = active
        self._source = options.source
        self._watches_file = options.watch
        self._children = children
        self._privileged = privileged
        self._on_finished = on_finished  # called with the outcome of each reload
        self._is_stopped = False
        self._seen = options.source.state()
        self._files = options.document.files  # that the config last read is made of, besides the source's
        self._next_file_check = time.monotonic() + WATCH_PERIOD_S
        # The reload in progress
        self._pending: Reload | None = None
        self._is_requested_again = False

    @property
    def is_running(self) -> bool:
        """Whether a reload is in progress."""
        return self._pending is not None

    def start(self) -> None:
        """Read and compile the config, bind its new listeners, and propose it to all children."""
        if self._is_stopped:
            return
        if self._pending is not None:
            self._is_requested_again = True
            return
        systemd.notify("RELOADING=1")
        active = self._active
        self._seen = self._source.state()
        self._files = ConfigFiles()
        directory = Directory()
        directory.names.update(active.board.directory.names)
        try:
            text = self._source.read()
            document = self._source.document(text, self._files)
            runtime = dry_run(document, directory, active.certificates)
            refuse_failed_tests(document)
            bindings = active.bindings.prepare(runtime.listeners)
        except (ConfigError, StartError) as error:
            self._finish(ReloadOutcome(str(error).splitlines()))
            return
        except Exception as error:  # any failure must leave the running config in use
            log.exception("internal error while compiling the new config")
            self._finish(ReloadOutcome([repr(error)]))
            return
        new_keys = frozenset(bindings.keys() - active.bindings.current.keys())
        self._pending = Reload(text, document, runtime, bindings, new_keys, directory.names)
        if self._privileged is not None:
            self._privileged.create_log(document)
            self._children.broadcast(self._privileged.certificate_files())
        for child in self._children.alive:
            self._pending.propose(child)

    def stop(self) -> None:
        """End a reload in progress and start no other: the server is stopping."""
        self._is_stopped = True
        if self._pending is not None and self._pending.is_committed:
            self._pending.failures[MASTER] = STOPPING
            self._finish_committed(self._pending)
        elif self._pending is not None:
            self._abandon(self._pending, [STOPPING])

    # ── called by the master ──

    def check(self, now: float) -> None:
        """End a reload that takes too long; with `-watch`, start one when a file of the config has changed."""
        pending = self._pending
        if pending is not None and now >= pending.deadline:
            if pending.is_committed:
                for child in pending.awaited:
                    late = f"{name_role(child.role)} has not switched to the new config within {COMMIT_WITHIN_S:g} s"
                    pending.failures.setdefault(child.role, late)
                self._finish_committed(pending)
            else:
                self._abandon(pending, ["a process did not compile the config in time"])
        if self._watches_file and now >= self._next_file_check:
            self._next_file_check = now + WATCH_PERIOD_S
            state = self._source.state()
            if state is not None and (state != self._seen or self._files.has_changed()):
                self.start()

    def due_times(self) -> list[float]:
        """Return the times, of `time.monotonic`, by which `check` must be called."""
        due = [self._pending.deadline] if self._pending is not None else []
        return [*due, self._next_file_check] if self._watches_file else due

    def child_started(self, child: Child) -> None:
        """Propose the config of a reload in progress to a child that was forked during it, unless it has it already."""
        if self._pending is not None and not self._pending.is_committed:
            self._pending.propose(child)

    def child_exited(self, child: Child) -> None:
        """Wait for the successor of a child instead."""
        pending = self._pending
        if pending is None:
            return
        if not pending.is_committed:
            pending.awaited.discard(child)
        elif child in pending.awaited:
            pending.failures.setdefault(child.role, f"{name_role(child.role)} exited while it switched")

    def child_ready(self, child: Child) -> None:
        """A child serves the active config: as the successor of one that could not switch to it, it is awaited."""
        if self._pending is not None and self._pending.is_committed:
            self._committed_by(self._pending, child)

    def child_committed(self, child: Child, error: str) -> None:
        """Take the result of a child's "commit": an error, with which it exits, or "" when it has switched."""
        pending = self._pending
        if pending is None or not pending.is_committed:
            return  # it comes too late
        if error:
            pending.failures[child.role] = f"{name_role(child.role)}: {error}; it is replaced"
        else:
            self._committed_by(pending, child)

    def child_prepared(self, child: Child, error: str) -> None:
        """Take the result of a child's "prepare": an error, or "" when it has compiled the config."""
        pending = self._pending
        if pending is None or pending.is_committed:
            return
        pending.awaited.discard(child)
        if error:
            self._abandon(pending, [f"{name_role(child.role)}: {line}" for line in error.splitlines()])
        elif not pending.awaited:
            self._commit(pending)

    def close_new_sockets(self) -> None:
        """Close the sockets that were bound for a reload in progress. Runs in a new child, which gets its own sent."""
        if self._pending is not None and not self._pending.is_committed:
            for key in self._pending.new_keys:
                self._pending.bindings[key].close(unlink=False)

    # ── outcome ──

    def _commit(self, pending: Reload) -> None:
        """Have all children switch to the new config, and new ones begin with it."""
        active = self._active
        pending.is_committed = True
        pending.deadline = time.monotonic() + COMMIT_WITHIN_S
        pending.warnings += unchangeable(active.document, pending.document)
        pending.warnings += map(str, pending.runtime.warnings)
        # Removed sockets are closed here before the children close theirs: the last one to close a socket resets the
        # connections still queued on it, and only workers can accept them.
        if faults := active.bindings.commit(pending.bindings, pending.runtime.listeners):
            pending.failures[MASTER] = "\n".join(faults)
        active.board.directory.names.update(pending.slots)
        pending.awaited.update(self._children.alive)
        self._children.broadcast({"kind": "commit"})
        active.document, active.runtime = pending.document, pending.runtime
        logs.configure(pending.document.config.logging)
        if not pending.awaited:
            self._finish_committed(pending)

    def _committed_by(self, pending: Reload, child: Child) -> None:
        pending.awaited.discard(child)
        if not pending.awaited:
            self._finish_committed(pending)

    def _finish_committed(self, pending: Reload) -> None:
        errors = [line for text in pending.failures.values() for line in text.splitlines()]
        self._finish(ReloadOutcome(errors, pending.warnings, is_in_use=True, included=pending.document.files.included))

    def _abandon(self, pending: Reload, errors: list[str]) -> None:
        self._children.broadcast({"kind": "abandon"})
        self._active.bindings.abandon(pending.bindings)
        self._finish(ReloadOutcome(errors))

    def _finish(self, outcome: ReloadOutcome) -> None:
        """Report the outcome to the log, the service manager and the callers of `npserver reload`."""
        self._pending = None
        outcome.log()
        count_reload(self._active.board.row(-1), has_errors=bool(outcome.errors), is_in_use=outcome.is_in_use)
        systemd.notify("READY=1")
        self._on_finished(outcome)
        gc.collect()  # the config before, or the faulty one, is full of cycles
        if self._is_requested_again:
            self._is_requested_again = False
            self.start()
