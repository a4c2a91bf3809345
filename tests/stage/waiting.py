"""Waiting for a condition, within a deadline.

Where files announce it, the condition is looked at after each change of a directory, and at no other time. What a
server would answer is announced by nothing: it is asked again at intervals, and once more when its process has ended.
"""

from __future__ import annotations

import ctypes
import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
#: Until a server is asked again: at first, and at most. In between it is a part of the time waited: who waits for long
#: would not notice sooner, and takes the time from what is waited for.
AGAIN_S, AGAIN_MAX_S, AGAIN_PART = 0.01, 0.2, 1 / 20
#: Changes of a directory (inotify): IN_MODIFY, IN_ATTRIB, IN_CLOSE_WRITE, IN_MOVED_FROM and _TO, IN_CREATE, IN_DELETE.
_CHANGES = 0x002 | 0x004 | 0x008 | 0x040 | 0x080 | 0x100 | 0x200
_EVENTS_BYTES = 64 << 10


def wait_until(
    is_so: Callable[[], T | None],
    what: str,
    deadline_s: float = 30.0,
    story: Callable[[], str] = lambda: "",
    *,
    directory: Path | None = None,
    process: int | None = None,
) -> T:
    """Wait until `is_so()` returns something true, and return it.

    Args:
        what: what is waited for, as a failure tells it.
        story: what a failure tells besides.
        directory: whose files make it true; they are not asked about at other times than when one has changed.
        process: the one that makes it true, if nothing in a directory tells.
    """
    begun = time.monotonic()
    with _events(directory, process) as events:
        while not (found := is_so()):
            waited_s = time.monotonic() - begun
            left_s = deadline_s - waited_s
            if left_s <= 0:
                raise AssertionError(f"no {what} within {deadline_s} s\n{story()}")
            wait_s = (
                left_s if directory is not None else min(left_s, max(AGAIN_S, min(AGAIN_MAX_S, waited_s * AGAIN_PART)))
            )
            for descriptor, _ in events.poll(wait_s * 1000):
                if directory is not None:
                    os.read(descriptor, _EVENTS_BYTES)
                else:
                    events.unregister(descriptor)  # it has ended, once
    return found


@contextmanager
def _events(directory: Path | None, process: int | None) -> Iterator[select.poll]:
    """Yield a poll object for the changes of a directory, or for the end of a process."""
    events = select.poll()
    descriptors = []
    if directory is not None:
        descriptors = [_watch(directory)]
    elif process is not None:
        try:
            descriptors = [os.pidfd_open(process)]
        except ProcessLookupError:
            pass  # it has ended already
    try:
        for descriptor in descriptors:
            events.register(descriptor, select.POLLIN)
        yield events
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _watch(directory: Path) -> int:
    """Return a descriptor that can be read after each change of a file in a directory."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor: int = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    if descriptor < 0 or libc.inotify_add_watch(descriptor, os.fsencode(directory), _CHANGES) < 0:
        raise OSError(ctypes.get_errno(), f"inotify: {os.strerror(ctypes.get_errno())}")
    return descriptor
