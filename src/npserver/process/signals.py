"""What a signal means that comes twice, or because the terminal was closed."""

from __future__ import annotations

import os
import signal

#: A signal that stops comes twice where a process group gets it (`timeout`, a wrapper that passes it on): within this
#: time it is taken for the same one, later it means to exit immediately.
SAME_STOP_S = 0.5


class Terminal:
    """The controlling terminal at the start, if there is one. When it is closed, its programs get a SIGHUP."""

    __slots__ = ("_ends_us",)

    def __init__(self) -> None:
        """Create it before SIGHUP has a handler: under nohup(1) the signal is ignored, and closing does not end us."""
        self._ends_us = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN and _has_terminal()

    def __repr__(self) -> str:
        return f"<Terminal {'followed' if self._ends_us else 'ignored'}>"

    @property
    def is_closed(self) -> bool:
        """Whether a SIGHUP says that the terminal is closed, and does not ask for a reload."""
        return self._ends_us and not _has_terminal()


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
