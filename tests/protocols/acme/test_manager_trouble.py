"""Certificates are kept valid whatever the clock, the CA, the store and other programs do, without a storm of orders.

Covers `tls.acme.clock_jumps` and `tls.acme.stored_states`.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from npserver.errors import StoreError
from npserver.store.directory import DirectoryStore
from npserver.tls.acme.manager import ORDERED_AGAIN_S, Manager, State
from npserver.tls.acme.schedule import Window
from tests.stage.keeping import ALL, DAY_S, Kept, wanted
from tests.stage.pebble import Pebble
from tests.stage.programs import needs
from tests.stage.waiting import wait_until

pytestmark = needs("pebble")


async def test_a_clock_that_is_ahead_makes_no_storm_of_orders(
    kept: Kept, pebble: Pebble, caplog: pytest.LogCaptureFixture
) -> None:
    """What the CA issues is then due for renewal at once. Once the clock is put back, all is as before."""
    one = wanted("a.example.test")
    before = pebble.orders()
    await kept.look(one)
    kept.ahead_s = 10 * 365 * DAY_S
    for _ in range(6):
        await kept.look(one)
    assert pebble.orders() == before + 2
    assert re.search(r"soon after it was issued \(1 in a row\): next order in [56] min; is the clock", caplog.text)
    kept.ahead_s += 400
    await kept.look(one)
    assert pebble.orders() == before + 3
    kept.ahead_s = 0
    for days in (1, 20, 40, 59):
        kept.ahead_s = days * DAY_S
        await kept.look(one)
    assert pebble.orders() == before + 3
    kept.ahead_s = 0
    state, years_ago = await kept.state(one), time.time() - 4 * 365 * DAY_S
    await kept.put(one, state, not_before=years_ago, not_after=time.time() + DAY_S, issued_at=years_ago)
    await kept.look(one)
    assert pebble.orders() == before + 4
    assert not (await kept.state(one)).early.count


async def test_a_ca_that_moves_each_renewal_to_the_past_makes_no_storm_of_orders(kept: Kept, pebble: Pebble) -> None:
    one = wanted("a.example.test")
    orders = []
    for _ in range(30):
        await kept.look(one)
        orders.append(pebble.orders())
        state, now = await kept.state(one), time.time() + kept.ahead_s
        await kept.put(one, state, window=Window(now - 20, now - 10), ask_at=now + 6000)
        kept.ahead_s += 60
    assert orders[1] == orders[0] + 1, "the first time at once, as it must"
    assert orders[-1] <= orders[0] + 4


async def test_after_failures_at_a_time_to_come_it_goes_on_when_the_clock_is_put_back(
    kept: Kept, free_port: Callable[[], int]
) -> None:
    """The certificate of the CA itself has expired by then, for example."""
    one = wanted("a.example.test")
    down = kept.client(directory=f"https://127.0.0.1:{free_port()}/dir")
    kept.ahead_s = 10 * 365 * DAY_S
    await kept.look(one, down)
    kept.ahead_s = 0
    await kept.look(one)
    assert (await kept.state(one)).is_issued


async def test_a_certificate_of_a_ca_that_the_config_names_no_more_is_replaced(kept: Kept, pebble: Pebble) -> None:
    """Such as that of Let's Encrypt's staging, with which one begins."""
    one = wanted("a.example.test")
    first = await kept.issue(one)
    other = kept.client(directory=pebble.url.replace("127.0.0.1", "localhost"))
    await kept.look(one, other, kept.client())
    assert await kept.state(one) == first
    await kept.look(one, other)
    second = await kept.state(one)
    assert (second.directory, second.id == first.id) == (other.directory, False)
    await kept.look(one, other)
    assert await kept.state(one) == second


async def test_two_programs_that_name_different_cas_do_not_take_turns_for_ever(kept: Kept, pebble: Pebble) -> None:
    one = wanted("a.example.test")
    before = pebble.orders()
    for _ in range(5):
        await kept.look(one, kept.client(directory=pebble.url.replace("127.0.0.1", "localhost")))
        await kept.look(one)
    assert pebble.orders() == before + 2


async def test_a_process_that_dies_of_each_order_stays_below_the_limits(
    kept: Kept, pebble: Pebble, caplog: pytest.LogCaptureFixture
) -> None:
    """Also one that is started again at once. The first times it goes on at once: it may have been killed by chance."""
    one = wanted("a.example.test")
    await kept.put(one, State(broken_off=2))
    await kept.look(one)
    assert (await kept.state(one)).is_issued
    await kept.put(one, State(broken_off=3))
    before = pebble.orders()
    pause = [await kept.look(one) for _ in range(3)][-1]
    assert pebble.orders() == before
    assert 250 < pause < 400
    assert re.search(r"ended during each of the last 3 orders; next attempt in [56] min \(tls.acme\)", caplog.text)
    kept.ahead_s = pause + 1
    await kept.look(one)
    assert (await kept.state(one)).broken_off == 0


async def test_a_config_that_is_mended_is_tried_at_once_but_no_loop_of_reloads(kept: Kept, pebble: Pebble) -> None:
    """One that has failed waits, also if it comes again after another one; so does the fifth of many."""
    named = {of: wanted("unknown.invalid", settings=of) for of in "abcdef"}
    before, orders = pebble.orders(), []
    for of in "aabbaabbccddeaf":
        await kept.look(named[of])
        orders.append(pebble.orders() - before)
    assert orders == [1, 1, 2, 2, 2, 2, 2, 2, 3, 3, 4, 4, 4, 4, 4]
    kept.ahead_s = await kept.look(named["e"]) + 1
    for of in "eabab":
        await kept.look(named[of])
    assert pebble.orders() == before + 7, "the delay is over: one attempt more of each"
    assert (await kept.state(named["e"])).failures.count == 7


async def test_a_mended_config_has_the_certificate_and_a_renewal_that_failed(
    kept: Kept, free_port: Callable[[], int]
) -> None:
    """Whether there was a certificate before or not."""
    down = kept.client(directory=f"https://127.0.0.1:{free_port()}/dir")
    bad, good = (wanted("a.example.test", settings=of) for of in ("bad", "good"))
    for _ in range(2):
        await kept.look(bad, down, kept.client(directory=f"{kept.pebble.url}nowhere"))
        assert (await kept.state(bad)).error
        await kept.look(good)
        state = await kept.state(good)
        assert (state.is_issued, state.error, state.tried) == (True, "", ())
        kept.ahead_s = state.not_after - time.time() - DAY_S


async def test_an_order_that_a_reload_ends_is_none_that_broke_off(kept: Kept) -> None:
    one = wanted("a.example.test")
    kept.solver.is_holding = True
    order = asyncio.create_task(kept.look(one))
    await kept.solver.reached.wait()
    assert (await kept.state(one)).broken_off == 1
    order.cancel()
    with pytest.raises(asyncio.CancelledError):
        await order
    assert (await kept.state(one)).broken_off == 0


async def test_what_the_store_does_not_take_is_not_ordered_again(
    kept: Kept, pebble: Pebble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full before the order: the CA is not asked. One that is when it was issued: it is kept."""
    one, manager, clients = wanted("a.example.test"), kept.manager(), [kept.client()]
    put, refused = DirectoryStore.put, [one.state_key]

    async def full(self: DirectoryStore, key: str, value: bytes) -> None:
        if key in refused:
            raise StoreError("no space left on device")
        await put(self, key, value)

    monkeypatch.setattr(DirectoryStore, "put", full)
    before = pebble.orders()
    for refused[0], orders in ((one.state_key, 0), (one.certificate_key, 1), (one.certificate_key, 1)):
        with pytest.raises(StoreError):
            await manager.look(one, clients)
        assert pebble.orders() == before + orders
    refused.clear()
    await manager.look(one, clients)
    assert pebble.orders() == before + 1
    assert (await kept.state(one)).is_issued
    assert "PRIVATE" not in repr(vars(manager))


async def test_an_order_of_another_program_is_not_waited_for_by_other_names(
    kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does the lock of a long order expire."""
    monkeypatch.setattr("npserver.tls.acme.manager.AT_ONCE", 1)
    monkeypatch.setattr("npserver.tls.acme.stored_states.LOCK_EXPIRY_S", 0.3)
    one, other = wanted("a.example.test"), wanted("b.example.test", "a.example.test")
    kept.solver.is_holding = True
    order = asyncio.create_task(kept.look(one))
    await kept.solver.reached.wait()
    expiry = next((tmp_path / "store/.locks").iterdir())
    begun = expiry.read_bytes()
    await asyncio.to_thread(wait_until, lambda: expiry.read_bytes() > begun, "a lock that is extended")
    manager = kept.manager()
    assert await manager.look(one, [kept.client()]) == ORDERED_AGAIN_S
    kept.solver.is_holding = False
    kept.solver._kinds = {**kept.solver._kinds, "b.example.test": ALL}
    await manager.look(other, [kept.client()])
    assert (await kept.state(other)).is_issued
    kept.solver.go_on.set()
    await order
    assert (await kept.state(one)).is_issued


@pytest.mark.parametrize("outcome", ["issued", "failed"])
async def test_an_order_that_another_program_went_on_with_changes_nothing_any_more(
    kept: Kept, tmp_path: Path, outcome: str
) -> None:
    """This one hung for so long that its lock has expired, and then it goes on."""
    one = wanted("a.example.test")
    kept.solver.is_holding, kept.solver.fails = True, outcome == "failed"
    hung = asyncio.create_task(kept.look(one))
    await kept.solver.reached.wait()
    (lock,) = (tmp_path / "store/.locks").iterdir()
    lock.write_text("0")  # as if its time had passed
    kept.solver.is_holding = False
    await kept.look(one)
    state, pem = await kept.state(one), await kept.store.get(one.certificate_key)
    assert state.is_issued
    kept.solver.go_on.set()
    with pytest.raises(StoreError, match="another program went on with the order, as this one hung for 120 s"):
        await hung
    assert await kept.state(one) == state
    assert await kept.store.get(one.certificate_key) == pem


async def test_the_ca_is_asked_about_a_certificate_by_one_program_at_a_time(kept: Kept) -> None:
    """An answer about one that another program has renewed meanwhile would bring its state back."""
    one, client = wanted("a.example.test"), kept.client()
    await kept.look(one)
    kept.ahead_s = 100
    asked, go_on, ask = asyncio.Event(), asyncio.Event(), client.renewal_window

    async def wait(certificate_id: str) -> Any:
        asked.set()
        await go_on.wait()
        return await ask(certificate_id)

    client.renewal_window = wait  # type: ignore[method-assign]
    first = asyncio.create_task(kept.look(one, client))
    await asked.wait()
    before = await kept.state(one)
    assert await kept.look(one) == 1.0
    assert await kept.state(one) == before
    go_on.set()
    await first
    assert (await kept.state(one)).ask_at > before.ask_at


async def test_a_jump_of_the_clock_is_noticed_at_once(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine was suspended, or its clock was set: a certificate may have become due long ago."""
    monkeypatch.setattr("npserver.tls.acme.clock_jumps.PERIOD_S", 0.01)
    one = wanted("a.example.test")
    told: asyncio.Queue[State] = asyncio.Queue()
    manager = Manager(
        kept.store, [(one, [kept.client()])], kept.solver, lambda _, state: told.put_nowait(state),
        lambda: time.time() + kept.ahead_s,
    )  # fmt: skip
    running = asyncio.create_task(manager.run())
    async with asyncio.timeout(20):
        while not (first := await told.get()).is_issued:
            pass
        kept.ahead_s = first.not_after - time.time()
        while (second := await told.get()).id == first.id:
            pass
    assert second.is_issued
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
