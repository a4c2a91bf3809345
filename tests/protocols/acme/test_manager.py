"""Certificates that are kept valid: ordered when they are missing or due, tried again after failures. With real pebble.

Covers `tls.acme.manager`, `tls.acme.solver` and `tls.acme.state`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from npserver.store.directory import DirectoryStore
from npserver.tls.acme.challenges import ChallengeKind
from npserver.tls.acme.client import AcmeClient
from npserver.tls.acme.manager import Manager, State, Wanted
from npserver.tls.acme.schedule import Window
from npserver.tls.acme.solver import WorkerSolver
from tests.stage.acme import ALIASES, proving, settings, store
from tests.stage.pebble import Pebble
from tests.stage.programs import needs

pytestmark = needs("pebble")

DAY_S = 86_400.0
ALL = tuple(ChallengeKind)


class Kept:
    """Managers over one store, with a clock that the test moves."""

    def __init__(self, pebble: Pebble, kept: DirectoryStore, solver: WorkerSolver) -> None:
        self.pebble = pebble
        self.store = kept
        self.solver = solver
        self.ahead_s = 0.0
        self.states: list[State] = []

    def manager(self, *clients: AcmeClient) -> Manager:
        return Manager(
            self.store, [], self.solver, lambda _, state: self.states.append(state), lambda: time.time() + self.ahead_s
        )

    def client(self, **more: Any) -> AcmeClient:
        return AcmeClient(settings(self.pebble, **more), self.store)

    async def look(self, wanted: Wanted, *clients: AcmeClient) -> float:
        """Do what a manager that has just started does first."""
        return await self.manager().look(wanted, clients or (self.client(),))

    async def state(self, wanted: Wanted) -> State:
        data = await self.store.get(wanted.state_key)
        assert data is not None
        return msgspec.json.decode(data, type=State)


@asynccontextmanager
async def keeping(
    pebble: Pebble, tmp_path: Path, certificates: Callable[..., Any], *kinds: ChallengeKind
) -> AsyncIterator[Kept]:
    async with proving(pebble, certificates().config) as proof:
        names = ("a.example.test", "*.example.test", "example.test", "alias.example.test", "unknown.invalid")
        possible = {**dict.fromkeys(names, kinds or ALL), "alias.example.test": (ChallengeKind.DNS_01,)}
        solver = WorkerSolver(proof._answers, possible, ALIASES)
        yield Kept(pebble, store(tmp_path / "store"), solver)


def wanted(*names: str) -> Wanted:
    return Wanted(names[0].replace("*", "_"), names, "tls.acme")


async def test_it_is_issued_kept_and_renewed_at_two_thirds_of_its_life(
    pebble: Pebble, tmp_path: Path, certificates: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "npserver")
    async with keeping(pebble, tmp_path, certificates) as kept:
        one = wanted("a.example.test", "*.example.test", "alias.example.test")
        pause = await kept.look(one)
        first = await kept.state(one)
        assert (first.directory, first.error) == (pebble.url, "")
        pem = await kept.store.get(one.certificate_key)
        assert pem is not None
        assert pem.count(b"BEGIN CERTIFICATE") >= 2
        assert pem.count(b"PRIVATE KEY") == 2
        assert pause > 50
        await kept.look(one)  # after a restart
        assert await kept.state(one) == first
        life = first.not_after - first.not_before
        kept.ahead_s = life * 0.6
        await kept.look(one)
        assert (await kept.state(one)).id == first.id
        kept.ahead_s = life * 0.7
        await kept.look(one)
        second = await kept.state(one)
        assert second.id != first.id
        assert await kept.store.get(one.certificate_key) != pem
        assert b"".join(pem.split(b"-----")[-3].split()).decode()[:40] not in "".join(caplog.text.split())


async def test_two_programs_with_one_store_make_one_order(
    pebble: Pebble, tmp_path: Path, certificates: Callable[..., Any]
) -> None:
    async with keeping(pebble, tmp_path, certificates) as kept:
        one = wanted("a.example.test")
        before = pebble.log.count("Added order")
        await asyncio.gather(*(kept.look(one) for _ in range(3)))
        assert pebble.log.count("Added order") == before + 1
        assert (await kept.state(one)).is_issued


async def test_failures_are_stored_and_tried_again_later(
    pebble: Pebble, tmp_path: Path, certificates: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Also over restarts, so that a program that is restarted in a loop stays below the CA's limits."""
    async with keeping(pebble, tmp_path, certificates, ChallengeKind.HTTP_01) as kept:
        one = wanted("unknown.invalid")
        for count in (1, 2):
            before = pebble.log.count("Added order")
            pause = await kept.look(one)
            state = await kept.state(one)
            assert state.failures.count == count
            assert not state.is_issued
            assert 250 < pause < 1000
            for _ in range(3):
                await kept.look(one)  # restarts
            assert pebble.log.count("Added order") == before + 1
            kept.ahead_s += pause + 1
        assert "no certificate for unknown.invalid: " in caplog.text
        assert "unknown.invalid" in state.error or "unknown.invalid" in caplog.text
        assert "(tls.acme)" in caplog.text


async def test_the_next_ca_is_asked_when_one_is_down(
    pebble: Pebble, tmp_path: Path, certificates: Callable[..., Any], caplog: pytest.LogCaptureFixture,
    free_port: Callable[[], int],
) -> None:  # fmt: skip
    async with keeping(pebble, tmp_path, certificates) as kept:
        one = wanted("a.example.test")
        down = kept.client(directory=f"https://127.0.0.1:{free_port()}/dir")
        await kept.look(one, down, kept.client())
        assert (await kept.state(one)).directory == pebble.url
        assert f"; asking {pebble.url}" in caplog.text


async def test_a_window_of_the_ca_moves_the_renewal(
    pebble: Pebble, tmp_path: Path, certificates: Callable[..., Any]
) -> None:
    """RFC 9773 §4.2: also to the present, when it must revoke. Pebble 2.4 has none: this one is put into the store."""
    async with keeping(pebble, tmp_path, certificates) as kept:
        one = wanted("a.example.test")
        await kept.look(one)
        first = await kept.state(one)
        now = time.time()
        moved = msgspec.structs.replace(first, window=Window(now - 20, now - 10), ask_at=now + 1000)
        await kept.store.put(one.state_key, msgspec.json.encode(moved))
        await kept.look(one)
        assert (await kept.state(one)).id != first.id


@pytest.mark.parametrize("what", ["state", "certificate"])
async def test_what_is_lost_or_damaged_is_made_again(
    pebble: Pebble, tmp_path: Path, certificates: Callable[..., Any], what: str
) -> None:
    async with keeping(pebble, tmp_path, certificates) as kept:
        one = wanted("a.example.test")
        await kept.look(one)
        first = await kept.state(one)
        if what == "state":
            await kept.store.put(one.state_key, b"{")
        else:
            await kept.store.delete(one.certificate_key)
        await kept.look(one)
        assert (await kept.state(one)).id != first.id
        assert await kept.store.get(one.certificate_key) is not None


async def test_a_worker_that_is_late_fails_the_challenge(
    pebble: Pebble, tmp_path: Path, certificates: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CA is not told to look before every worker can answer."""
    monkeypatch.setattr("npserver.tls.acme.solver.WORKERS_S", 0.05)
    async with keeping(pebble, tmp_path, certificates) as kept:
        agreement: Any = kept.solver._answers.agreement
        agreement._context.row.board.rows.append(agreement._context.row.board.rows[-1][:0].tolist() or [0] * 20_000)
        one = wanted("a.example.test")
        await kept.look(one)
        state = await kept.state(one)
        assert not state.is_issued
        assert "has not taken the answer" in state.error


async def test_answers_of_orders_at_a_time_do_not_take_each_others_place(
    pebble: Pebble, tmp_path: Path, certificates: Callable[..., Any]
) -> None:
    async with keeping(pebble, tmp_path, certificates) as kept:
        names = [wanted(name) for name in ("a.example.test", "*.example.test", "example.test", "alias.example.test")]
        await asyncio.gather(*(kept.look(one) for one in names))
        assert all([(await kept.state(one)).is_issued for one in names])
        assert kept.solver._due_answers().http == {}
