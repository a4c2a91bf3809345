"""What goes wrong during a soak, and which losses it excuses."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from soak.served import make_config
from tests.stage.upgrading import tree

if TYPE_CHECKING:
    from soak.clients import Failure, Load
    from soak.served import Ports
    from soak.targets import Targets
    from tests.stage.clock import Clock
    from tests.stage.program import Program

STOPPED_S = 1.5  # a worker, by SIGSTOP
AWAY_S = 1.0  # a target
SCARCE_S = 2.0  # descriptors
SCARCE_AFTER_S = 1.5  # targets that could not be connected to are not tried at once
SPARE_DESCRIPTORS = 3
RELOADS = 10  # at a time
KILLS = 4
EXCUSED_S = 3.0  # after the kill of a worker


#: The answers for want of a connection to a target, and the end of the longest idle UDP session; and libuv, where it
#: cannot accept a connection, closes it.
REFUSALS = (
    "503 HTTP/1.1",
    "503 HTTP/2",
    "503 HTTP/3",
    "WebSocket connection: HTTP 502",
    "WebSocket connection: HTTP 503",
    "TimeoutError:  (CancelledError())",  # of a datagram for which no session could be opened
    "the session was replaced",
    "ConnectError",
    "did not receive a valid HTTP response",
    "Server disconnected without sending a response",
    "ConnectionResetError",  # what a relay ends its client with
)


class Excuse(Struct):
    """A time in which each client may lose one exchange, or any number whose failure has one of these `words`."""

    begin: float
    end: float
    words: tuple[str, ...] = ()


class Soak:
    """One run: the server, its targets, and what has happened."""

    def __init__(self, directory: Path, ports: Ports, targets: Targets, tls: dict[str, Any], clock: Clock) -> None:
        self.directory = directory
        self.ports = ports
        self.targets = targets
        self.tls = tls
        self.clock = clock
        self.program: Program
        self.load: Load
        self.pid = 0  # of the master, which an upgrade changes
        self.generation = 0
        self.log = ""
        self.counts: Counter[str] = Counter()
        self.history: list[tuple[float, str]] = []
        self.excuses: list[Excuse] = []
        self.refused = 0
        self.begun_at = time.monotonic()

    def begin(self, program: Program) -> None:
        """The server has been started."""
        self.program = program
        self.pid = program.process.pid

    def config(self) -> dict[str, Any]:
        """Return the present config."""
        return make_config(
            self.directory, self.ports, self.targets, self.tls, generation=self.generation, log=self.log
        )  # fmt: skip

    def workers(self) -> list[int]:
        """Return the process ids of the workers of the present master."""
        found = []
        for pid in tree(self.pid)[1:]:
            with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                if b"worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
        return found

    def note(self, kind: str) -> None:
        """Something goes wrong now."""
        self.counts[kind] += 1
        self.history.append((time.monotonic(), kind))

    def latest_before(self, at: float) -> str:
        """Return what went wrong last before a time."""
        return next(
            (f"{kind} {at - when:.2f} s before" for when, kind in reversed(self.history) if when <= at), "nothing"
        )

    def unexplained(self) -> list[Failure]:
        """Return the failures that nothing excuses: a kill excuses one of each client. Others are counted."""
        used: set[tuple[int, str]] = set()
        lost = []
        for failure in self.load.failures:
            for number, excuse in enumerate(self.excuses):
                if failure.at < excuse.begin or failure.began > excuse.end:
                    continue
                if any(word in failure.why for word in excuse.words):
                    self.refused += 1
                    break
                if not excuse.words and (number, failure.client) not in used:
                    used.add((number, failure.client))
                    break
            else:
                lost.append(failure)
        return lost

    async def command(self, *words: str) -> str:
        """Run a command of npserver for the server, which has to succeed. Return what it prints."""
        process = await asyncio.create_subprocess_exec(
            *self.program.command_line(*words), env=self.environment(), stdout=-1, stderr=-2
        )  # fmt: skip
        printed = (await process.communicate())[0].decode()
        if process.returncode:
            raise SystemExit(f"npserver {words[0]} failed: {printed}\n{self.program.errors[-3000:]}")
        return printed

    def environment(self) -> dict[str, str]:
        """Return the environment of commands."""
        return {**os.environ, **self.clock.environment}

    async def until_whole(self) -> None:
        """Wait until no process is missing."""
        deadline = time.monotonic() + 20
        while len(self.workers()) < 2 or len(tree(self.pid)) < 4:
            if time.monotonic() > deadline:
                raise SystemExit(f"processes are missing\n{self.program.errors[-3000:]}")
            await asyncio.sleep(0.05)


async def reload(soak: Soak) -> None:
    """Other configs of the same meaning, one after the other."""
    for number in range(RELOADS):
        soak.note("reload")
        soak.generation += 1
        soak.program.configure(soak.config())
        if number == 0:
            await soak.command("reload")
        else:
            soak.program.forget_errors()
            os.kill(soak.pid, signal.SIGHUP)
            await asyncio.to_thread(soak.program.wait_for_new, "config reloaded")


async def upgrade(soak: Soak) -> None:
    """The program is replaced."""
    await soak.until_whole()
    soak.note("upgrade")
    printed = await soak.command("upgrade")
    soak.pid = int(printed.split()[2])


async def kill_worker(soak: Soak) -> None:
    """A worker is gone, with what it had in progress; its successor, too, or another one."""
    for _ in range(KILLS):
        await soak.until_whole()
        soak.note("worker killed")
        now = time.monotonic()
        soak.excuses.append(Excuse(now, now + EXCUSED_S))
        os.kill(random.choice(soak.workers()), signal.SIGKILL)
        await asyncio.sleep(EXCUSED_S / KILLS)
    await soak.until_whole()


async def kill_controller(soak: Soak) -> None:
    """No request depends on it."""
    await soak.until_whole()
    soak.note("controller killed")
    workers = soak.workers()
    os.kill(next(pid for pid in tree(soak.pid)[1:] if pid not in workers), signal.SIGKILL)
    await soak.until_whole()


async def stop_worker(soak: Soak) -> None:
    """A worker does nothing for a while; its clients wait."""
    await soak.until_whole()
    soak.note("worker stopped")
    pid = random.choice(soak.workers())
    os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(STOPPED_S)
    os.kill(pid, signal.SIGCONT)


async def flap_target(soak: Soak) -> None:
    """One of two targets refuses connections."""
    soak.note("target away")
    target = random.choice(soak.targets.http)
    target.close()
    await asyncio.sleep(AWAY_S)
    await target.open()


async def take_descriptors(soak: Soak) -> None:
    """Workers can open hardly anything more: clients wait to be accepted."""
    await soak.until_whole()
    soak.note("descriptors scarce")
    now, limits = time.monotonic(), {}
    soak.excuses.append(Excuse(now, now + SCARCE_S + SCARCE_AFTER_S, REFUSALS))
    for pid in soak.workers():
        limits[pid] = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        most = max(map(int, os.listdir(f"/proc/{pid}/fd")))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (most + 1 + SPARE_DESCRIPTORS, limits[pid][1]))
    await asyncio.sleep(SCARCE_S)
    for pid, limit in limits.items():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)


async def fill_disk(soak: Soak) -> None:
    """The access log cannot be written."""
    soak.note("disk full")
    for log in ("/dev/full", ""):
        soak.log = log
        soak.program.configure(soak.config())
        await soak.command("reload")
        await asyncio.sleep(1.0)


async def jump_clock(soak: Soak) -> None:
    """The time of day is another one, in all processes."""
    soak.note("clock jumped")
    soak.clock.set(random.choice(("+1h", "-1h", "+3d", "-2d")))
    await asyncio.sleep(1.0)
    soak.clock.set("+0")


TROUBLE: dict[str, Callable[[Soak], Awaitable[None]]] = {
    "reload": reload, "upgrade": upgrade, "worker killed": kill_worker, "controller killed": kill_controller,
    "worker stopped": stop_worker, "target away": flap_target, "descriptors scarce": take_descriptors,
    "disk full": fill_disk, "clock jumped": jump_clock,
}  # fmt: skip
#: Those after which the same processes run as before.
QUIET = {"reload", "worker stopped", "target away", "disk full", "clock jumped"}
