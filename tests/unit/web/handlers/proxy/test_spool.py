"""Bodies that wait in memory and in files."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from npserver.web.handlers.proxy.spool import BEHIND_BYTES, PIECE_BYTES, Spool, SpoolSettings
from tests.protocols.proxying import until
from tests.stage.worker import make_context

SLOT = 5000  # of a counter


def spooling(memory: int, directory: str | None, file: int | None = None) -> SpoolSettings:
    """Settings in short."""
    return SpoolSettings(memory, directory, "key", SLOT, file)


SIZES = [
    spooling(0, None),
    spooling(1000, None),
    spooling(100_000, None, 200_000),
    spooling(1000, None, 0),
    spooling(1 << 30, None),
]


def descriptors() -> set[str]:
    """The files that this process has open."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:
            continue  # that of the listing itself
    return found


class Told:
    """Waits for the spool to say that something has changed."""

    def __init__(self) -> None:
        self.event = asyncio.Event()

    def __call__(self) -> None:
        self.event.set()

    async def wait(self) -> None:
        async with asyncio.timeout(20):
            await self.event.wait()
        self.event.clear()


@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("settings", SIZES)
async def test_what_was_appended_is_read_in_order(settings: SpoolSettings, keeps: bool) -> None:
    """Whatever the sizes, and however reading, appending and the writing of the file take turns."""
    chance = random.Random(7)
    context = make_context(asyncio.get_running_loop())
    for _ in range(30):
        spool = Spool(context, settings, lambda: None, keeps=keeps)
        sent, got = bytearray(), bytearray()
        for _ in range(60):
            if chance.random() < 0.5:
                data = chance.randbytes(chance.choice((1, 100, 3000, 70_000)))
                sent += data
                spool.append(data)
            else:
                got += spool.read()
            if chance.random() < 0.3:
                await asyncio.sleep(0)
        while data := spool.read():
            got += data
        assert spool.is_read
        assert got == sent
        if keeps:
            assert spool.size == len(sent)
            for _ in range(2):
                spool.rewind()
                again = bytearray()
                while data := spool.read():
                    again += data
                assert again == sent
        spool.close()
    context.sweeper.close()


async def test_it_is_full_while_the_file_lags_behind(tmp_path: Path) -> None:
    told = Told()
    context = make_context(asyncio.get_running_loop())
    spool = Spool(context, spooling(10, str(tmp_path)), told, keeps=True)
    spool.append(bytes(10))
    assert not spool.is_full
    spool.append(bytes(BEHIND_BYTES))
    assert not spool.is_full
    spool.append(b"x")
    assert spool.is_full
    while spool.is_full:
        await told.wait()
    assert spool.size == BEHIND_BYTES + 11
    assert context.row.slots[SLOT] >= BEHIND_BYTES
    spool.close()


async def test_a_full_file_takes_more_once_all_was_read(tmp_path: Path) -> None:
    told = Told()
    context = make_context(asyncio.get_running_loop())
    spool = Spool(context, spooling(0, str(tmp_path), 2 * PIECE_BYTES), told, keeps=False)
    for _ in range(3):
        spool.append(bytes(2 * PIECE_BYTES))
        assert spool.is_full
        await told.wait()
        assert spool.is_full
        assert len(spool.read()) == PIECE_BYTES
        assert spool.is_full
        assert len(spool.read()) == PIECE_BYTES
        assert not spool.is_full
    spool.close()


async def test_the_file_has_no_name_and_ends_with_the_spool(tmp_path: Path) -> None:
    context = make_context(asyncio.get_running_loop())
    for waits in (True, False):
        told = Told()
        spool = Spool(context, spooling(0, str(tmp_path)), told, keeps=True)
        spool.append(b"x" * 100)
        if waits:
            await told.wait()
            assert any(name.startswith(str(tmp_path)) for name in descriptors())
        assert list(tmp_path.iterdir()) == []
        spool.close()  # the second time while a thread is writing
        await until(lambda: not any(name.startswith(str(tmp_path)) for name in descriptors()))


@pytest.mark.parametrize("keeps", [False, True])
async def test_what_could_not_be_written_is_read_from_memory(tmp_path: Path, keeps: bool) -> None:
    told = Told()
    context = make_context(asyncio.get_running_loop())
    missing = tmp_path / "missing"
    spool = Spool(context, spooling(4, str(missing)), told, keeps=keeps)
    spool.append(b"abcd")
    spool.append(b"efgh")
    await told.wait()
    assert isinstance(spool.error, FileNotFoundError)
    assert spool.is_full
    spool.append(b"ij")
    assert spool.read() + spool.read() == b"abcdefghij"
    assert spool.is_full is keeps  # else another file is tried, when there is more
    if not keeps:
        missing.mkdir()
        spool.append(b"12345")
        await told.wait()
        assert spool.error is None
        assert spool.read() == b"12345"
    spool.close()
