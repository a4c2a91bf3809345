"""The whole server in one process and one event loop, for `"workers": 0` and for embedding by `npserver.serve`."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import time
from typing import TYPE_CHECKING

from npserver.config.control_place import placed_control
from npserver.config.files import ConfigFiles
from npserver.errors import ConfigError, StartError
from npserver.observe import logs
from npserver.observe.reload_counters import count_reload
from npserver.process import preload, systemd
from npserver.process.bindings import Bindings
from npserver.process.control import places
from npserver.process.control.commands import ServerCommands
from npserver.process.control.host import Host, ProcessState
from npserver.process.control.protocol import STOPPING, Answer, Reply, Request
from npserver.process.control.server import ControlServer
from npserver.process.data_plane import DataPlane, make_context
from npserver.process.dry_run import dry_run
from npserver.process.explaining import refuse_failed_tests, with_failed_tests
from npserver.process.limits import find_identity
from npserver.process.loop import LoopSelector, new_loop
from npserver.process.options import WATCH_PERIOD_S, RunOptions
from npserver.process.reload_outcome import ReloadOutcome, switch_error, unchangeable
from npserver.process.signals import SAME_STOP_S, Terminal
from npserver.process.title import set_title
from npserver.runtime.pubsub import PubSub
from npserver.runtime.scoreboard import Directory, Scoreboard
from npserver.runtime.tasks import spawn
from npserver.upstream.drain_requests import ASK

if TYPE_CHECKING:
    from npserver.config.document import Document
    from npserver.program.runtime import Runtime

log = logging.getLogger("npserver.server")


class SingleProcess:
    """A server in the running event loop."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.bindings = Bindings(1, systemd.inherited_sockets())
        board = Scoreboard(1, os.urandom(16), rate_limit_keys=document.config.limits.rate_limit_keys)
        context = make_context(asyncio.get_running_loop(), 0, board, PubSub(), document)
        self.data_plane = DataPlane(context, runs_services=True)

    async def start(self) -> Runtime:
        """Compile the config, bind its listeners and serve. Raises: ConfigError, StartError, with everything closed."""
        try:
            runtime = self.data_plane.compile(self.document)
            self.bindings.commit(self.bindings.prepare(runtime.listeners), runtime.listeners)
            await self.data_plane.activate(runtime, self.bindings.sockets(0))
        except BaseException:
            self.close()
            raise
        return runtime

    async def reload(self, document: Document) -> ReloadOutcome:
        """Switch to another config. Raises: ConfigError, StartError: the old config stays in use."""
        dry_run(document, Directory(), reads_large_data=False)  # a faulty config must not affect the running one
        refuse_failed_tests(document)
        runtime = self.data_plane.compile(document)
        try:
            prepared = self.bindings.prepare(runtime.listeners)
        except StartError:
            runtime.close()
            raise
        faults = self.bindings.commit(prepared, runtime.listeners)
        warnings = unchangeable(self.document, document) + [str(problem) for problem in runtime.warnings]
        try:
            await self.data_plane.activate(runtime, self.bindings.sockets(0))
        except Exception as error:
            faults.append(switch_error(error))
        self.document = document
        return ReloadOutcome(faults, warnings, is_in_use=True, included=document.files.included)

    async def stop(self, timeout_s: float | None = None) -> None:
        """Stop accepting, wait up to `timeout_s` (default: `timeouts.shutdown`) for open connections, close all."""
        self.bindings.close()
        await self.data_plane.drain(self.document.config.timeouts.shutdown if timeout_s is None else timeout_s)
        self.close()

    def close(self) -> None:
        """Close all listeners and connections immediately."""
        self.bindings.close()
        self.data_plane.close()


def refuse_upgrade(_request: Request, reply: Reply) -> None:
    """`upgrade`: nothing would serve while this process hands over."""
    reply(Answer(['one process serves all ("workers": 0), and cannot be upgraded as it runs: restart npserver']))


def run_single_process(options: RunOptions) -> int:
    """Serve in this process until told to stop. Return the exit status. Raises: ConfigError, StartError."""
    gc.enable()
    loop = new_loop()
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(_run(options))
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _run(options: RunOptions) -> int:
    return await _Runner(options).run()


class _Runner:
    """Runs a `SingleProcess` as a program: handles signals, `npserver reload` and a watched config file."""

    def __init__(self, options: RunOptions) -> None:
        self._options = options
        self._single = SingleProcess(options.document)
        self._files = options.document.files  # that the config last read is made of, besides the source's
        self._stop = asyncio.Event()
        self._stop_now = asyncio.Event()
        self._stopped_at = 0.0  # by a signal
        self._signal = 0  # the second one
        self._reloading = asyncio.Lock()
        context = self._single.data_plane.context
        began_at = time.monotonic()
        self._commands = ServerCommands(
            Host(
                context.row.board, options.source.file, began_at, self._single.bindings, lambda: context.pubsub.latest,
                context.pubsub.tell, context.pubsub.publish, self._begin_reload, self._runtime,
                lambda: [ProcessState("server", os.getpid(), round(time.monotonic() - began_at, 1))],
                self._stop.is_set,
            )
        )  # fmt: skip
        context.pubsub.subscribe(ASK, self._commands.drain_asked)
        all_commands = {**self._commands.all(), "upgrade": refuse_upgrade}
        self._control = ControlServer(LoopSelector(asyncio.get_running_loop()), all_commands)
        context.sweeper.watched |= {self._control, self._commands}

    async def run(self) -> int:
        options, loop = self._options, asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop_by_signal, number)
        # These come before anything is served: without a handler the signal would end the process.
        loop.add_signal_handler(signal.SIGHUP, self._hang_up, Terminal())
        loop.add_signal_handler(signal.SIGUSR1, self._single.data_plane.context.access_log.reopen)
        async with self._reloading:
            set_title(f"npserver: one process {options.source.file}".rstrip())
            with places.explaining_second_start(options.source.file):
                runtime = with_failed_tests(await self._single.start())
            try:
                identity = find_identity(options.document)
            except StartError:
                self._single.close()
                raise
            if options.source.file:
                self._control.open(options.source.file, placed_control(options.document))
            if identity is not None:
                if identity.user != os.geteuid():
                    preload.import_all(runtime.services)
                identity.assume()
        watching = spawn(self._watch(), "watching the config", None) if options.watch else None
        options.announce(runtime, self._single.bindings.current)
        systemd.notify("READY=1")
        await self._stop.wait()
        systemd.notify("STOPPING=1")
        if watching is not None:
            watching.cancel()
        self._control.close()
        return await self._finish()

    async def _finish(self) -> int:
        stopping = spawn(self._single.stop(), "shutting down", None)
        second_signal = spawn(self._stop_now.wait(), "second signal", None)
        await asyncio.wait({stopping, second_signal}, return_when=asyncio.FIRST_COMPLETED)
        second_signal.cancel()
        if stopping.done():
            return 0
        log.warning("second signal: exiting immediately")
        stopping.cancel()
        self._single.close()
        return 128 + self._signal

    def _stop_by_signal(self, number: int) -> None:
        """Shut down gracefully on the first signal, immediately on the second."""
        now = asyncio.get_running_loop().time()
        if self._stop.is_set():
            if now >= self._stopped_at + SAME_STOP_S:
                self._signal = number
                self._stop_now.set()
        else:
            self._stopped_at = now
            timeout_s = self._single.document.config.timeouts.shutdown
            log.info("shutting down: waiting up to %g s for active requests (timeouts.shutdown)", timeout_s)
            self._stop.set()

    def _hang_up(self, terminal: Terminal) -> None:
        if not terminal.is_closed:
            spawn(self._reload(), "reload", None)
        elif not self._stop.is_set():
            log.info("the terminal was closed")
            self._stop_by_signal(signal.SIGHUP)

    def _begin_reload(self) -> None:
        spawn(self._reload(), "reload", None)

    async def _reload(self) -> ReloadOutcome:
        """Read the config again and switch to it."""
        async with self._reloading:
            if self._stop.is_set():
                return ReloadOutcome([STOPPING])
            systemd.notify("RELOADING=1")
            try:
                self._files = ConfigFiles()
                document = self._options.source.document(self._options.source.read(), self._files)
                outcome = await self._single.reload(document)
            except (ConfigError, StartError) as error:
                outcome = ReloadOutcome(str(error).splitlines())
            except Exception as error:
                log.exception("internal error while compiling the new config")
                outcome = ReloadOutcome([repr(error)])
            if outcome.is_in_use:
                logs.configure(self._single.document.config.logging)
                if self._options.source.file:
                    self._control.place(placed_control(self._single.document))
            outcome.log()
            row = self._single.data_plane.context.row
            count_reload(row, has_errors=bool(outcome.errors), is_in_use=outcome.is_in_use)
            systemd.notify("READY=1")
            self._commands.reload_finished(outcome)
            return outcome

    async def _watch(self) -> None:
        seen = self._options.source.state()
        while True:
            await asyncio.sleep(WATCH_PERIOD_S)
            state = self._options.source.state()
            if state is not None and (state != seen or self._files.has_changed()):
                seen = state
                await self._reload()

    def _runtime(self) -> Runtime:
        runtime = self._single.data_plane.runtime
        assert runtime is not None  # the control socket is opened after the start
        return runtime
