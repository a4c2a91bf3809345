"""Services of the controller run until cancelled, and are restarted with back-off when they fail."""

from __future__ import annotations

import asyncio

import pytest

from npserver.process import service_runner
from npserver.process.service_runner import ServiceRunner


class Steady:
    def __init__(self) -> None:
        self.starts = 0
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def run(self) -> None:
        self.starts += 1
        self.started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


class Failing(Steady):
    async def run(self) -> None:
        self.starts += 1
        if self.starts < 4:
            raise RuntimeError("broken")
        self.started.set()
        await asyncio.Event().wait()


async def test_services_are_replaced() -> None:
    services, old, new = ServiceRunner(), Steady(), Steady()
    await services.replace([old])
    await asyncio.wait_for(old.started.wait(), 30)
    await services.replace([new])
    assert old.cancelled.is_set()
    await asyncio.wait_for(new.started.wait(), 30)
    await services.replace([])
    assert new.cancelled.is_set()
    assert (old.starts, new.starts) == (1, 1)


async def test_a_failing_service_is_restarted_after_growing_pauses(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(service_runner, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(service_runner, "LONGEST_PAUSE_S", 0.002)
    services, failing = ServiceRunner(), Failing()
    await services.replace([failing])
    await asyncio.wait_for(failing.started.wait(), 30)
    await services.replace([])
    pauses = [record.args[1] for record in caplog.records if record.args]  # type: ignore[index]
    assert pauses == [0.001, 0.002, 0.002]
    assert all(record.args and record.args[0] == "Failing" for record in caplog.records)  # type: ignore[index]
