"""Run an asyncio connect or accept coroutine to completion without a Task, by stepping it from future callbacks.

A Task takes a tenth of the time that a forwarded connection costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any


class CoroutineStepper:
    """Steps a coroutine that awaits only futures, as `loop.create_connection` does.

    Not for coroutines that need the current task, as `asyncio.timeout` and `asyncio.sleep` do.
    """

    __slots__ = ("_coroutine", "_done", "_is_cancelled", "_waiting")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], done: Callable[[Exception | None], None]) -> None:
        """Create it. `done` is called once with the error or None; never after `cancel`."""
        self._coroutine = coroutine
        self._done = done
        self._is_cancelled = False
        self._waiting: asyncio.Future[Any] | None = None

    def start(self) -> None:
        """Run the coroutine up to the first future that is not done; it may end immediately."""
        self._step()

    def cancel(self) -> None:
        """Cancel the coroutine, which closes what it has opened."""
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
            waiting._asyncio_future_blocking = False  # acknowledges the future, as a Task would
            waiting.add_done_callback(self._step)
            self._waiting = waiting
