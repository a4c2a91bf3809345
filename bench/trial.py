"""A trial: one contender doing one workload once."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from bench import accounting
from bench.load import Load
from bench.machine import LOAD_CORE, ROOT, SERVER_CORE, pinned
from bench.server import Server, accepts, answers_http, file_limit, free_port, is_udp_bound

WARM_UP_S = 0.5
LONG_WARM_UP_S = 2.0  # where what is asked for varies: every file was opened once, by every contender


@dataclass(frozen=True, slots=True)
class Figure:
    """The result of a trial. `value` is compared; the other fields explain it."""

    value: float
    rate: float = 0.0  # per second of real time
    p50_us: float = 0.0
    p99_us: float = 0.0
    memory_bytes: int = 0
    server_busy: float = 0.0  # share of its core
    load_busy: float = 0.0  # share of the other core, backend included
    errors: int = 0
    size: float = 0.0  # mean bytes of an answer, where known


@dataclass(frozen=True, slots=True)
class Contender:
    """A peer with one of its configs."""

    peer: str
    role: str
    places: Callable[[], Mapping[str, str]] = dict  # further `@name@` of the config
    core: int | str = SERVER_CORE
    idle: int = 0  # connections held open beside the load


@dataclass(frozen=True, slots=True)
class Workload:
    """A kind of load for several contenders. The first is npserver; its ratio to each other is the result."""

    name: str
    title: str
    unit: str  # of `Figure.value`
    run: Callable[[Trial], Figure]
    contenders: Mapping[str, Contender]
    targets: Mapping[str, float] = field(default_factory=dict)  # least ratio to each
    is_ready: Callable[[int], bool] = answers_http
    backend: str = ""  # "http" or "h2c" (nginx), or a kind of `bench.backend`
    is_less_better: bool = False
    note: str = ""

    def ratio(self, ours: float, theirs: float) -> float:
        """Return our figure as a multiple of theirs: above 1 ours is better."""
        if not ours or not theirs:
            return 0.0
        return theirs / ours if self.is_less_better else ours / theirs


class Backend:
    """The process that a proxy or relay connects to."""

    def __init__(self, kind: str) -> None:
        self.port = free_port()
        self._command = pinned(LOAD_CORE, [sys.executable, "-m", "bench.backend", kind, str(self.port)])
        self._is_up = is_udp_bound if kind in ("udp", "dns") else accepts

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, cwd=ROOT)
        deadline = time.monotonic() + 10
        while not self._is_up(self.port):
            if time.monotonic() > deadline:
                raise RuntimeError("the backend did not start")
            time.sleep(0.01)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    def cpu_s(self) -> float:
        """CPU time so far."""
        return accounting.cpu_s(self._process.pid)


class Trial:
    """A started contender with its backend; as a context manager it starts and stops both."""

    def __init__(self, workload: Workload, contender: Contender, seconds: float) -> None:
        self.seconds = seconds
        self._workload = workload
        self.contender = contender
        self._stack = ExitStack()
        self.backend: Server | Backend | None = None

    def __enter__(self) -> Self:
        workload, contender = self._workload, self.contender
        places = dict(contender.places())
        try:
            if workload.backend in ("http", "h2c"):
                role, is_ready = ("backend", answers_http) if workload.backend == "http" else ("backend-h2c", accepts)
                backend = Server("nginx", role, is_ready=is_ready, core=LOAD_CORE)
                self.backend = self._stack.enter_context(backend)
            elif workload.backend:
                self.backend = self._stack.enter_context(Backend(workload.backend))
            if self.backend is not None:
                places["backend"] = str(self.backend.port)
            server = Server(
                contender.peer, contender.role, is_ready=workload.is_ready, places=places, core=contender.core
            )
            self.server = self._stack.enter_context(server)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def port(self) -> int:
        """Where the contender listens."""
        return self.server.port

    def url(self, path: str = "/", scheme: str = "http") -> str:
        """The contender's address."""
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    def loaded(self, load: Callable[[float], Load], *, warm_up_s: float = WARM_UP_S) -> Figure:
        """Put load on it and measure what is done per second of CPU time."""
        if warm_up_s:
            load(warm_up_s)
        backend_before = self.backend.cpu_s() if self.backend else 0.0
        before, begin = self.server.cpu_s(), time.perf_counter()
        done = load(self.seconds)
        used, took = self.server.cpu_s() - before, time.perf_counter() - begin
        backend_used = self.backend.cpu_s() - backend_before if self.backend else 0.0
        return Figure(
            value=done.count / max(used, 1e-3),
            rate=done.count / done.seconds,
            p50_us=done.p50_us,
            p99_us=done.p99_us,
            memory_bytes=self.server.memory_bytes(),
            server_busy=used / took,
            load_busy=(done.generator_cpu_s + backend_used) / took,
            errors=done.errors,
            size=done.size,
        )

    def held(self, kind: str, most: int, files_each: int = 2) -> Figure:
        """Open idle connections and measure what each costs.

        Args:
            most: how many, as far as the limit of open files lets the server have them.
            files_each: what one takes of them; two where it is passed on.
        """
        connections = min(most, (file_limit() - 1000) // files_each)
        before = self.server.memory_bytes()
        with self.holding(kind, connections):
            after = self.server.memory_bytes()
        return Figure(value=(after - before) / connections, memory_bytes=after)

    @contextmanager
    def holding(self, kind: str, connections: int) -> Iterator[None]:
        """Keep that many idle connections open for a while."""
        command = [sys.executable, "-m", "bench.load.sockets", "hold", f"--port={self.port}", f"--kind={kind}"]
        process = subprocess.Popen(
            pinned(LOAD_CORE, [*command, f"--connections={connections}"]),
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        with process:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise RuntimeError("the connections could not be opened")
            yield
            process.communicate("")
