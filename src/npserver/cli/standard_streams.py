"""Standard streams that the caller has closed, as `npserver >&-` or a bare-bones service manager does."""

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
