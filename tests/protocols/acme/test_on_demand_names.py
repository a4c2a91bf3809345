"""Certificates on demand over their whole life, with real pebble: ordered, renewed, dropped by the application.

Covers `tls.acme.on_demand.keeper` and `tls.acme.on_demand.answerable`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from npserver.store.directory import DirectoryStore
from npserver.tls.acme.answering.solver import WorkerSolver
from npserver.tls.acme.challenges import ChallengeKind
from npserver.tls.acme.client.acme_client import AcmeClient
from npserver.tls.acme.clock_jumps import ClockJumps
from npserver.tls.acme.dns.places import Places
from npserver.tls.acme.on_demand.answerable import Answerable
from npserver.tls.acme.on_demand.config import OnDemand
from npserver.tls.acme.on_demand.entry import Entry
from npserver.tls.acme.on_demand.keeper import HOUR_S, LACKING, OnDemandManager
from npserver.tls.acme.on_demand.permission import parse_application
from npserver.tls.acme.schedule import DAY_S
from npserver.tls.acme.state import State
from npserver.tls.states import CertificateStates
from tests.stage.acme import proving, settings, store
from tests.stage.asked_application import AskedApplication, asked_application
from tests.stage.pebble import Pebble
from tests.stage.programs import needs

pytestmark = needs("pebble")

NAME = "a.example.test"
KEY = "tls.acme.on_demand"


class Kept:
    """Managers over one store, with a clock that the test moves."""

    def __init__(self, pebble: Pebble, kept: DirectoryStore, proof: Any, application: AskedApplication) -> None:
        self.pebble = pebble
        self.store = kept
        self.context = proof._answers.agreement._context
        self.ahead_s = 0.0
        self.context.wall_clock = lambda: time.time() + self.ahead_s
        self.answerable = Answerable({}, {})
        self.states = CertificateStates()
        self.solver = WorkerSolver(proof._answers, self.answerable.kinds, self.answerable.places)
        self.settings = settings(pebble)
        self.entry = self.make_entry(KEY, application)

    def make_entry(self, key: str, application: AskedApplication) -> Entry:
        limits = OnDemand(ask=application.url)
        kinds: Callable[[str], Sequence[ChallengeKind]] = lambda name: (ChallengeKind.HTTP_01,)  # noqa: E731
        url = parse_application(application.url)
        places: Callable[[str], Places] = lambda name: Places(f"_acme-challenge.{name}")  # noqa: E731
        return Entry(key, limits, url, (self.settings,), kinds, places, self.store.files, is_public=False)

    async def manager(self, *entries: Entry, configured: Sequence[str] = ()) -> OnDemandManager:
        """Return a manager that has just started."""
        used = {one.key: one for one in entries or (self.entry,)}
        clients = {self.settings: AcmeClient(self.settings, self.store)}
        tables = Answerable({**self.answerable.kinds, **dict.fromkeys(configured, ())}, self.answerable.places)
        made = OnDemandManager(
            self.context, self.store, used, clients, self.solver, tables if configured else self.answerable,
            self.states, ClockJumps(self.context.wall_clock),
        )  # fmt: skip
        await made._names.begin()
        return made

    async def state(self, name: str = NAME) -> State:
        data = await self.store.get(f"acme/states/{name}.json")
        return msgspec.json.decode(data, type=State) if data is not None else State()

    def hour_later(self, name: str) -> None:
        """Have the process see for an hour already that a name has no certificate."""
        LACKING.of(self.context)[name] -= HOUR_S

    def orders(self) -> int:
        """Return how many orders the CA has got."""
        return self.pebble.orders()


@asynccontextmanager
async def keeping(pebble: Pebble, tmp_path: Path, certificates: Callable[..., Any]) -> AsyncIterator[Any]:
    with asked_application(200) as application:
        async with proving(pebble, certificates().config) as proof:
            yield Kept(pebble, store(tmp_path / "store"), proof, application), application


async def test_a_name_that_failed_is_ordered_at_once_when_the_settings_were_mended(
    pebble: Pebble, tmp_path: Path, certificates: Callable[..., Any], free_port: Callable[[], int]
) -> None:
    async with keeping(pebble, tmp_path, certificates) as (kept, application):
        good, kept.settings = kept.settings, settings(pebble, directory=f"https://127.0.0.1:{free_port()}/dir")
        bad = kept.make_entry(KEY, application)
        for _ in range(2):
            assert await (await kept.manager(bad))._obtain(bad, NAME) > 0
            assert (await kept.state()).failures.count == 1
        kept.settings = good
        assert await (await kept.manager())._obtain(kept.entry, NAME) == 0


async def test_a_name_is_renewed_as_long_as_the_application_agrees(
    pebble: Pebble, tmp_path: Path, certificates: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "npserver")
    async with keeping(pebble, tmp_path, certificates) as (kept, application):
        manager = await kept.manager()
        assert await manager._obtain(kept.entry, NAME) == 0
        first = await kept.state()
        life_s = first.not_after - first.not_before

        # known from now on, also after a restart: nobody is asked
        manager = await kept.manager()
        assert await manager._obtain(kept.entry, NAME) == 0
        assert application.asked == [NAME]

        # due: the application is asked again, and agrees
        kept.ahead_s = life_s * 0.7
        assert await manager._tend(NAME) > 0
        renewed = await kept.state()
        assert renewed.id != first.id
        assert application.asked == [NAME, NAME]
        # pebble's clock is the real one: by ours the new certificate is due as well, after a while
        kept.ahead_s = life_s * 0.8
        application.status_of = lambda name: 500
        assert await manager._tend(NAME) == HOUR_S
        application.status_of = lambda name: 404
        assert await manager._tend(NAME) == DAY_S
        assert (await kept.state()).id == renewed.id
        assert [one.names for one in kept.states.all()] == [(NAME,)]
        assert caplog.messages[-1].endswith(f"is not renewed: the application refuses it now ({KEY}.ask)")
        assert await manager._obtain(kept.entry, NAME) == 0, "it is used until it expires"

        # expired: nothing of it is left after two days, if this was seen for an hour
        kept.ahead_s = life_s * 1.1
        await manager._tend(NAME)
        assert NAME in manager._names
        kept.hour_later(NAME)
        await manager._tend(NAME)
        assert [key for key in await kept.store.list("acme/") if NAME in key] == []
        assert [*kept.states.all()] == []
        assert await manager._obtain(kept.entry, NAME) == kept.entry.limits.refusal_time


async def test_two_programs_that_share_a_store_make_one_order(
    pebble: Pebble, tmp_path: Path, certificates: Callable[..., Any]
) -> None:
    async with keeping(pebble, tmp_path, certificates) as (kept, application):
        managers = [await kept.manager() for _ in range(2)]
        before = kept.orders()
        assert await asyncio.gather(*(one._obtain(kept.entry, NAME) for one in managers)) == [0, 0]
        assert kept.orders() == before + 1
    assert application.asked == [NAME, NAME]


async def test_one_that_is_damaged_in_the_store_is_replaced(
    pebble: Pebble, tmp_path: Path, certificates: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with keeping(pebble, tmp_path, certificates) as (kept, _):
        assert await (await kept.manager())._obtain(kept.entry, NAME) == 0
        first = await kept.state()
        await kept.store.put(kept.entry.wanted(NAME).certificate_key, b"damaged")
        assert await (await kept.manager())._obtain(kept.entry, NAME) == 0
        assert (await kept.state()).id not in ("", first.id)
        assert b"PRIVATE" in await kept.store.get(kept.entry.wanted(NAME).certificate_key)
    assert f"the stored certificate for {NAME} is damaged, and is not used (store)" in caplog.messages


async def test_each_entry_asks_its_own_application(
    pebble: Pebble, tmp_path: Path, certificates: Callable[..., Any]
) -> None:
    async with keeping(pebble, tmp_path, certificates) as (kept, _):
        with asked_application(404) as another:
            other = kept.make_entry("listen[1].tls.acme.on_demand", another)
            manager = await kept.manager(kept.entry, other)
            assert await manager._obtain(kept.entry, NAME) == 0
            before = kept.orders()
            assert await manager._obtain(other, NAME) > 0
            another.status_of = lambda name: 200
            assert await manager._obtain(other, NAME) == 0
            assert await (await kept.manager(other))._obtain(other, NAME) == 0, "and the store knows it"
            assert kept.orders() == before
        assert another.asked == [NAME, NAME]


async def test_a_name_that_the_ca_refuses_is_tried_after_a_while_and_forgotten_after_days(
    pebble: Pebble, tmp_path: Path, certificates: Callable[..., Any]
) -> None:
    unknown = "www.unknown.test"
    async with keeping(pebble, tmp_path, certificates) as (kept, application):
        manager, before = await kept.manager(), kept.orders()
        for _ in range(2):
            assert await manager._obtain(kept.entry, unknown) == kept.entry.limits.refusal_time
        assert kept.orders() == before + 1
        assert (await kept.state(unknown)).failures.count == 1
        assert application.asked == [unknown, unknown]
        await manager._tend(unknown)
        kept.hour_later(unknown)
        await manager._tend(unknown)
        assert unknown in manager._names
        kept.ahead_s = 3 * DAY_S
        await manager._tend(unknown)
        assert [key for key in await kept.store.list("acme/") if unknown in key] == []


async def test_orders_that_ended_with_the_process_are_not_forgotten_at_its_next_start(
    pebble: Pebble, tmp_path: Path, certificates: Callable[..., Any]
) -> None:
    """Or a process that dies of each order would order again and again."""
    async with keeping(pebble, tmp_path, certificates) as (kept, _):
        manager = await kept.manager()
        await manager._names.add(NAME, KEY)
        await kept.store.put(kept.entry.wanted(NAME).state_key, msgspec.json.encode(State(broken_off=3)))
        await manager._tend(NAME)
        before = kept.orders()
        assert await manager._obtain(kept.entry, NAME) > 0
        assert kept.orders() == before
        assert (await kept.state()).failures.count == 1


async def test_names_of_the_config_are_left_to_their_own_manager(
    pebble: Pebble, tmp_path: Path, certificates: Callable[..., Any]
) -> None:
    async with keeping(pebble, tmp_path, certificates) as (kept, application):
        assert await (await kept.manager())._obtain(kept.entry, NAME) == 0
        kept.ahead_s = 100 * 366 * DAY_S
        manager = await kept.manager(configured=[NAME])
        assert await manager._tend(NAME) == HOUR_S
        assert (await kept.state()).is_issued
    assert application.asked == [NAME]


async def test_an_entry_that_the_config_has_no_more_renews_nothing(
    pebble: Pebble, tmp_path: Path, certificates: Callable[..., Any]
) -> None:
    async with keeping(pebble, tmp_path, certificates) as (kept, application):
        assert await (await kept.manager())._obtain(kept.entry, NAME) == 0
        first = await kept.state()
        with asked_application(200) as another:
            manager = await kept.manager(kept.make_entry("listen[1].tls.acme.on_demand", another))
            kept.ahead_s = (first.not_after - first.not_before) * 0.7
            assert await manager._tend(NAME) == HOUR_S
            assert another.asked == []
        assert (await kept.state()).id == first.id
    assert application.asked == [NAME]
