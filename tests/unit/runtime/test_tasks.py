"""Tasks that nobody awaits."""

from __future__ import annotations

import asyncio
import gc

import pytest

from npserver.runtime.tasks import spawn


async def test_a_task_runs_to_its_end_though_nobody_holds_it() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        for _ in range(3):
            await asyncio.sleep(0)
            gc.collect()
        ended.set()

    spawn(work(), "test work", None)
    await asyncio.wait_for(ended.wait(), 30)


async def test_a_failure_is_logged_with_what_failed(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        raise RuntimeError("broken")

    task = spawn(work(), "test work", None)
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert [record.getMessage() for record in caplog.records] == ["error in test work"]
    assert "broken" in caplog.text


async def test_a_cancelled_task_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    task = spawn(asyncio.Event().wait(), "test work", None)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert not caplog.records


async def test_whoever_waits_is_told_of_a_failure() -> None:
    told: list[BaseException] = []

    async def work() -> None:
        raise RuntimeError("broken")

    await asyncio.wait([spawn(work(), "test work", told.append)])
    cancelled = spawn(asyncio.Event().wait(), "test work", told.append)
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    await asyncio.sleep(0)
    assert [str(error) for error in told] == ["broken"]
