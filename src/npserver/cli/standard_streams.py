"""Standard streams that are closed: at the start, as by `npserver >&-`, or later, as a terminal is."""

from __future__ import annotations

import os
import sys

_STREAMS = ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w"))


def open_closed_streams() -> None:
    """Open the null device in place of each standard stream that is closed.

    Python sets such a stream to None. The next file or socket opened would get its descriptor, and with it everything
    that is written to the stream.
    """
    for number, name, mode in _STREAMS:
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - open for the life of the process


def flush_streams() -> bool:
    """Write what stdout and stderr still hold. Return False if stdout does not take it; a full disk is reported.

    What cannot be written is dropped: Python would try again at its end, complain, and exit with status 120.
    """
    is_written = True
    try:
        sys.stdout.flush()
    except OSError as error:
        is_written = False
        _forget(1)
        if not isinstance(error, BrokenPipeError):
            print(f"npserver: cannot write to standard output: {error.strerror}", file=sys.stderr)
    try:
        sys.stderr.flush()
    except OSError:
        _forget(2)
    return is_written


def _forget(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
