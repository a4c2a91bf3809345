"""The process that serves the control socket, as its commands see it: the master, or the single process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from npserver.listen.listener import Listener
    from npserver.process.bindings import Bindings
    from npserver.program.runtime import Runtime
    from npserver.runtime.scoreboard import Scoreboard


class ProcessState(Struct, frozen=True):
    """A process of the server. Its age is in seconds."""

    role: str
    pid: int  # 0: it is about to be started again
    age_seconds: float
    restarts: int = 0
    is_ready: bool = True


class Host(Struct, frozen=True):
    """What the commands need of the process. What changes is asked for by functions."""

    board: Scoreboard
    config_file: str  # as it was named; "" if the config is given on the command line only
    started_at: float  # by the monotonic clock
    bindings: Bindings
    latest: Callable[[], dict[str, Any]]  # returns the latest values of all topics
    tell: Callable[[int, str, Any], None]  # tells a process a value of a topic
    publish: Callable[[str, Any], None]  # publishes a value of a topic to all processes
    reload: Callable[[], None]  # begins a reload; `ServerCommands.reload_finished` is called with its outcome
    runtime: Callable[[], Runtime]  # returns the config in use
    processes: Callable[[], list[ProcessState]]
    is_stopping: Callable[[], bool]

    def listeners(self) -> Iterator[tuple[Listener, int]]:
        """Yield the listeners with their ports, as the kernel has chosen them for 0; 0: Unix sockets."""
        for binding in self.bindings.current.values():
            addresses = binding.addresses
            yield binding.listener, addresses[0].port if addresses else 0
