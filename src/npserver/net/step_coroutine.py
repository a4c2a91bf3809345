"""Opening a connection without a task: the loop's own coroutine, led by hand from one future to the next.

For what happens once per client: a task, its place among all tasks and its turns in the loop are a tenth of what a
forwarded connection costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any


class Opening:
    """A coroutine of the loop that waits for nothing but futures, as `loop.create_connection` does. Not for one that
    asks which task runs it: `asyncio.timeout` and `asyncio.sleep` do.
    """

    __slots__ = ("_coroutine", "_done", "_is_cancelled", "_waiting")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], done: Callable[[Exception | None], None]) -> None:
        """`done` is called once with what went wrong, or None; never after `cancel`."""
        self._coroutine = coroutine
        self._done = done
        self._is_cancelled = False
        self._waiting: asyncio.Future[Any] | None = None

    def start(self) -> None:
        """Go as far as it goes at once, which may be to its end."""
        self._step()

    def cancel(self) -> None:
        """Give up; what was opened is closed."""
        self._is_cancelled = True
        if self._waiting is not None:
            self._waiting.cancel()

    def _step(self, _: object = None) -> None:
        if self._is_cancelled:
            with suppress(asyncio.CancelledError, StopIteration, OSError):
                self._coroutine.throw(asyncio.CancelledError())
            return
        try:
            waiting = self._coroutine.send(None)
        except StopIteration:
            self._done(None)
        except Exception as error:
            self._done(error)
        else:
            waiting._asyncio_future_blocking = False  # said for the awaiting side, which is met by listening
            waiting.add_done_callback(self._step)
            self._waiting = waiting
