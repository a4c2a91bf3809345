"""Renewals in the controller: by the wall clock, which may jump; failures are logged once and repeated."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from npserver.store.directory import DirectoryStore
from npserver.store.files import StoreFiles
from npserver.tls import local_authority, renewal
from npserver.tls.local_authority import LOCAL_ROOT, LocalAuthority, Wanted
from npserver.tls.renewal import LocalRenewal
from npserver.tls.x509 import parse_pem
from tests.stage.worker import running_context

DAY_S = 86400.0
NOW = 1_800_000_000.0
WANTED = Wanted(("nas.home",), False, 7 * DAY_S)


async def test_it_follows_the_clock(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with running_context() as context:
        files, clock, passed = StoreFiles(str(tmp_path)), [NOW], [0.0]
        context.wall_clock = lambda: clock[0]
        context.loop = type("Loop", (), {"time": lambda self: passed[0]})()
        authority = LocalAuthority(DirectoryStore(files))
        await authority.ensure(WANTED, NOW)
        service = LocalRenewal(context, authority, {WANTED.key: WANTED})

        async def end_after(now: float) -> float:
            clock[0], passed[0] = now, passed[0] + 100
            await service.look()
            return parse_pem(files.read(WANTED.key) or b"").not_after.timestamp() - now

        assert await end_after(NOW + 4 * DAY_S) == 3 * DAY_S
        assert await end_after(NOW + 5 * DAY_S) == 7 * DAY_S
        assert await end_after(NOW + 900 * DAY_S) == 7 * DAY_S, "forward"
        assert await end_after(NOW) == 7 * DAY_S, "and back"
        assert await end_after(NOW + 1) == 7 * DAY_S - 1

        root = files.read(LOCAL_ROOT)
        files.write(LOCAL_ROOT, b"garbage")
        with caplog.at_level(logging.WARNING, "npserver.tls"):
            for _ in range(3):
                await end_after(NOW + 5 * DAY_S)
        (message,) = caplog.messages
        assert message.startswith("certificate for nas.home not renewed (tls.internal): ")
        assert "is damaged" in message
        files.write(LOCAL_ROOT, root)
        assert await end_after(NOW + 5 * DAY_S) == 7 * DAY_S
        assert repr(service) == f"<LocalRenewal {WANTED.key}>"


async def test_a_good_certificate_is_not_read_each_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But the clock and the machine's addresses are looked at, and after half a minute the store."""
    async with running_context() as context:
        files, clock, passed, addresses = StoreFiles(str(tmp_path)), [NOW], [0.0], ["10.0.0.1"]
        monkeypatch.setattr(local_authority, "machine_names", lambda: tuple(addresses))
        context.wall_clock = lambda: clock[0]
        context.loop = type("Loop", (), {"time": lambda self: passed[0]})()
        wanted = Wanted((), True, 7 * DAY_S)
        authority = LocalAuthority(DirectoryStore(files))
        await authority.ensure(wanted, NOW)
        service = LocalRenewal(context, authority, {wanted.key: wanted})
        await service.look()

        def is_new(before: bytes | None) -> bool:
            return files.read(wanted.key) != before

        files.write(wanted.key, b"damaged")
        passed[0] += renewal.TRUSTED_S - 1
        await service.look()
        assert not is_new(b"damaged")
        passed[0] += 1
        await service.look()
        assert is_new(b"damaged")
        before = files.read(wanted.key)
        addresses[0] = "10.0.0.2"
        await service.look()
        assert is_new(before)
        before = files.read(wanted.key)
        clock[0] += 5 * DAY_S
        await service.look()
        assert is_new(before)


async def test_an_attempt_is_not_repeated_at_once(tmp_path: Path) -> None:
    """As of a root about to end: what it signs is due as soon as it is made."""
    async with running_context() as context:
        files = StoreFiles(str(tmp_path))
        authority = LocalAuthority(DirectoryStore(files))
        await authority.ensure(WANTED, NOW)
        context.wall_clock = lambda: NOW + 3650 * DAY_S - 60
        service = LocalRenewal(context, authority, {WANTED.key: WANTED})
        await service.look()
        first = files.read(WANTED.key)
        await service.look()
        assert files.read(WANTED.key) == first


async def test_the_log_tells_once_of_each_certificate(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "PERIOD_S", 0.0)
    async with running_context() as context:
        authority = LocalAuthority(DirectoryStore(StoreFiles(str(tmp_path / "a store"))))
        for _ in range(2):  # a start, and a reload
            looked = asyncio.Event()
            service = LocalRenewal(context, authority, {WANTED.key: WANTED})

            async def look(one: LocalRenewal = service, done: asyncio.Event = looked) -> None:
                done.set()

            monkeypatch.setattr(LocalRenewal, "look", lambda self, look=look: look())
            with caplog.at_level(logging.INFO, "npserver.tls"):
                running = asyncio.create_task(service.run())
                await looked.wait()
                running.cancel()
        command = f"npserver cert -root local -store '{tmp_path}/a store'"
        assert caplog.messages == [
            f"certificate of the local authority (tls.internal) for nas.home; trust it: {command}"
        ]
