"""The code of a forked process, a worker or the controller: it serves, and acts on the messages of the master."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from npserver.config.files import ConfigFiles
from npserver.errors import ConfigError, NpserverError, reason_of
from npserver.observe import logs
from npserver.process.data_plane import DataPlane, make_context
from npserver.process.loop import new_loop
from npserver.process.message_channel import ChannelClosed, Message, MessageChannel
from npserver.process.reload_outcome import switch_error
from npserver.process.title import set_title
from npserver.runtime.pubsub import PubSub
from npserver.runtime.tasks import spawn
from npserver.sources.source import SUPPLIED
from npserver.tls.store import CERTIFICATES, CertificateStore

if TYPE_CHECKING:
    from npserver.config.document import Document
    from npserver.process.config_source import ConfigSource
    from npserver.process.limits import Identity
    from npserver.program.runtime import Runtime
    from npserver.runtime.scoreboard import Scoreboard

log = logging.getLogger("npserver.server")

CONTROLLER = -1  # the role of the controller; workers are numbered from 0

#: Requests leave hardly any reference cycles behind, so the garbage collector needs to run only rarely.
_GC_THRESHOLDS = (20_000, 20, 50)


def name_role(role: int) -> str:
    """Return the name of a process for messages."""
    return "controller" if role == CONTROLLER else f"worker {role}"


class ChildSetup(Struct, frozen=True):
    """The state that a child inherits from the master when it is forked."""

    role: int
    channel: MessageChannel
    board: Scoreboard
    source: ConfigSource
    document: Document
    sockets: dict[str, tuple[socket.socket, ...]]
    published: dict[str, Any]  # the latest value of each topic
    identity: Identity | None
    certificates: CertificateStore  # with the secrets of session tickets, which all workers share
    awaits_go: bool = False  # whether a message "go" comes once the sockets are this program's: it has a predecessor


def run_child(setup: ChildSetup) -> int:
    """Serve until told to stop. Return the exit status."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)  # a terminal sends them to all processes; only the master acts on them
    set_title(f"npserver: {name_role(setup.role)}")
    loop = new_loop()
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(ChildProcess(setup, loop).run())
    except (NpserverError, OSError) as error:
        for line in reason_of(error).splitlines():
            log.error("%s: %s", name_role(setup.role), line)
        return 1


class ChildProcess:
    """A worker or the controller, from within its process."""

    def __init__(self, setup: ChildSetup, loop: asyncio.AbstractEventLoop) -> None:
        self.setup = setup
        self.loop = loop
        self.pubsub = PubSub(self._send_published, self._send_told)
        self.pubsub.latest.update(setup.published)
        context = make_context(loop, setup.role, setup.board, self.pubsub, setup.document)
        CERTIFICATES.put(context, setup.certificates)
        SUPPLIED.put(context, setup.certificates.files)
        self.data_plane = DataPlane(context, runs_services=setup.role == CONTROLLER)
        self.document = setup.document
        self._stop = asyncio.Event()
        self._left: frozenset[str] | None = None  # the listeners that go on in another program when this one stops
        self._may_go = asyncio.Event()
        self._stop_within_s = setup.document.config.timeouts.shutdown
        self._committing = asyncio.Lock()
        # A reload in progress: compiled, but not committed
        self._prepared: tuple[Document, Runtime] | None = None
        self._new_sockets: dict[str, tuple[socket.socket, ...]] = {}

    def __repr__(self) -> str:
        return f"<ChildProcess {name_role(self.setup.role)}>"

    async def run(self) -> int:
        """Serve until the master says stop, a SIGTERM comes, or the master exits. Return the exit status."""
        runtime = self.data_plane.compile(self.document)
        if self.setup.identity is not None:
            self.setup.identity.assume()
        if self.setup.awaits_go:
            self.loop.add_signal_handler(signal.SIGTERM, self._stop_by_signal)
            self.loop.add_reader(self.setup.channel.fileno(), self._read)
            self._send({"kind": "compiled"})
            await self._may_go.wait()
            if self._stop.is_set():
                runtime.close()
                self.data_plane.close()
                return 0
        await self.data_plane.activate(runtime, self.setup.sockets)
        gc.freeze()  # the compiled config is permanent: collections need not scan it
        gc.set_threshold(*_GC_THRESHOLDS)
        self.loop.add_signal_handler(signal.SIGTERM, self._stop.set)
        self.loop.add_reader(self.setup.channel.fileno(), self._read)
        self._send({"kind": "ready"})
        await self._stop.wait()
        if self._left is not None:
            await self.data_plane.leave(self._left)
            self._send({"kind": "left"})
        await self.data_plane.drain(self._stop_within_s)
        self.data_plane.close()
        return 0

    def _stop_by_signal(self) -> None:
        self._stop.set()
        self._may_go.set()

    # ── messages ──

    def _send(self, message: Message) -> None:
        channel = self.setup.channel
        try:
            channel.send(message)
        except ChannelClosed:
            self._stop.set()
        if channel.wants_write:
            self.loop.add_writer(channel.fileno(), self._flush)

    def _flush(self) -> None:
        try:
            self.setup.channel.flush()
        except ChannelClosed:
            self._stop.set()
        if not self.setup.channel.wants_write or self._stop.is_set():
            self.loop.remove_writer(self.setup.channel.fileno())

    def _send_published(self, topic: str, value: Any) -> None:
        self._send({"kind": "published", "topic": topic, "value": value})

    def _send_told(self, role: int, topic: str, value: Any) -> None:
        self._send({"kind": "told", "role": role, "topic": topic, "value": value})

    def _read(self) -> None:
        try:
            messages = self.setup.channel.receive()
        except ChannelClosed:
            self.loop.remove_reader(self.setup.channel.fileno())
            log.warning("%s: connection to the master lost, shutting down", name_role(self.setup.role))
            self._stop.set()
            self._may_go.set()
            return
        for message, descriptors in messages:
            self._handle(message, descriptors)

    def _handle(self, message: Message, descriptors: list[int]) -> None:
        kind = message["kind"]
        if kind == "published":
            self.pubsub.deliver(message["topic"], message["value"])
        elif kind == "told":
            self.pubsub.hear(message["topic"], message["value"])
        elif kind == "sockets":
            self._new_sockets[message["key"]] = tuple(socket.socket(fileno=number) for number in descriptors)
        elif kind == "files":
            self.setup.certificates.files.supply(message["files"])
        elif kind == "prepare":
            self._prepare(message)
        elif kind == "commit":
            spawn(self._commit(), "reload", lambda error: self._stop.set())
        elif kind == "abandon":
            self._abandon()
        elif kind == "reopen":
            self.data_plane.context.access_log.reopen()
        elif kind == "go":
            self._may_go.set()
        elif kind == "stop":
            self._stop_within_s = message["timeout_s"]
            if message.get("left") is not None:
                self._left = frozenset(message["left"])
            self._stop.set()
            self._may_go.set()

    # ── reload ──

    def _prepare(self, message: Message) -> None:
        """First step of a reload: compile the config and report the result. Slot numbers come from the master."""
        self.setup.board.directory.names.update(message["slots"])
        try:
            document = self.setup.source.document(message["text"], ConfigFiles(message["files"]))
            self._prepared = document, self.data_plane.compile(document)
        except ConfigError as error:
            self._send({"kind": "prepared", "error": str(error)})
        except Exception as error:  # any failure must leave the running config in use
            log.exception("%s: internal error while compiling the new config", name_role(self.setup.role))
            self._send({"kind": "prepared", "error": repr(error)})
        else:
            self._send({"kind": "prepared", "error": ""})

    async def _commit(self) -> None:
        """Second step of a reload: activate the prepared config and report the result.

        After an error the process exits: its successor begins with the new config.
        """
        error = ""
        try:
            await self._switch()
        except Exception as fault:
            error = switch_error(fault)
        self._send({"kind": "committed", "error": error})
        if error:
            self._stop.set()

    async def _switch(self) -> None:
        if self._prepared is None:
            return
        self.document, runtime = self._prepared
        new_sockets, self._new_sockets, self._prepared = self._new_sockets, {}, None
        async with self._committing:
            before = self.data_plane.sockets
            keys = {listener.key for listener in runtime.listeners}
            sockets = {key: group for key, group in (before | new_sockets).items() if key in keys}
            await self.data_plane.activate(runtime, sockets)
        logs.configure(self.document.config.logging)
        self._stop_within_s = self.document.config.timeouts.shutdown

    def _abandon(self) -> None:
        for group in self._new_sockets.values():
            for one in group:
                one.close()
        self._new_sockets = {}
        if self._prepared is not None:
            self._prepared[1].close()
            self._prepared = None


def exit_child(setup: ChildSetup) -> None:
    """Run a child and exit the process, without returning to the master's code."""
    status = 1
    try:
        status = run_child(setup)
    except BaseException:
        log.exception("%s: unexpected error", name_role(setup.role))
    finally:
        logging.shutdown()
        os._exit(status)
