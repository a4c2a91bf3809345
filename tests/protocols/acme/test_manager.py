"""Certificates that are kept valid: ordered when they are missing or due, tried again after failures. With real pebble.

Covers `tls.acme.answering.attempt`, `tls.acme.manager`, `tls.acme.answering.solver` and `tls.acme.state`.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from npserver.tls.acme.challenges import ChallengeKind
from npserver.tls.acme.dns.places import Places
from npserver.tls.acme.schedule import Window
from tests.stage.keeping import DAY_S, Kept, keeping, wanted
from tests.stage.pebble import Pebble
from tests.stage.programs import needs

pytestmark = needs("pebble")


async def test_it_is_issued_kept_and_renewed_at_two_thirds_of_its_life(
    kept: Kept, pebble: Pebble, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "npserver")
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


async def test_two_programs_with_one_store_make_one_order(kept: Kept, pebble: Pebble) -> None:
    one = wanted("a.example.test")
    before = pebble.orders()
    await asyncio.gather(*(kept.look(one) for _ in range(3)))
    assert pebble.orders() == before + 1
    assert (await kept.state(one)).is_issued


async def test_failures_are_stored_and_tried_again_later(
    pebble: Pebble, tmp_path: Path, certificates: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Also over restarts, so that a program that is restarted in a loop stays below the CA's limits."""
    async with keeping(pebble, tmp_path, certificates, ChallengeKind.HTTP_01) as kept:
        one = wanted("unknown.invalid")
        for count in (1, 2):
            before = pebble.orders()
            pause = await kept.look(one)
            state = await kept.state(one)
            assert state.failures.count == count
            assert not state.is_issued
            assert 250 < pause < 1000
            for _ in range(3):
                await kept.look(one)  # restarts
            assert pebble.orders() == before + 1
            kept.ahead_s += pause + 1
        assert "no certificate for unknown.invalid: " in caplog.text
        assert "unknown.invalid" in state.error or "unknown.invalid" in caplog.text
        assert "(tls.acme)" in caplog.text


async def test_a_renewal_that_fails_is_none_of_a_certificate_that_is_missing(
    kept: Kept, caplog: pytest.LogCaptureFixture, free_port: Callable[[], int]
) -> None:
    """The old one is valid for a while; once it has expired, there is none."""
    one, down = wanted("a.example.test"), kept.client(directory=f"https://127.0.0.1:{free_port()}/dir")
    issued = await kept.issue(one)
    for at, message in (
        (issued.not_after - DAY_S, rf"the certificate for {one}, valid until 20\d\d-.* UTC, is not renewed: reading"),
        (issued.not_after + DAY_S, rf"no certificate for {one}: reading"),
    ):
        kept.ahead_s = at - time.time()
        caplog.clear()
        await kept.look(one, down)
        assert re.search(rf"{message} the directory: .*; next attempt in \d+ min \(tls\.acme\)$", caplog.messages[-1])


async def test_the_next_ca_is_asked_when_one_is_down(
    kept: Kept, pebble: Pebble, caplog: pytest.LogCaptureFixture, free_port: Callable[[], int]
) -> None:
    one = wanted("a.example.test")
    down = kept.client(directory=f"https://127.0.0.1:{free_port()}/dir")
    await kept.look(one, down, kept.client())
    assert (await kept.state(one)).directory == pebble.url
    assert f"; asking {pebble.url}" in caplog.text


async def test_a_window_of_the_ca_moves_the_renewal(kept: Kept) -> None:
    """RFC 9773 §4.2: also to the present, when it must revoke. Pebble 2.4 has none: this one is put into the store."""
    one = wanted("a.example.test")
    first = await kept.issue(one)
    now = time.time()
    await kept.put(one, first, window=Window(now - 20, now - 10), ask_at=now + 1000)
    await kept.look(one)
    assert (await kept.state(one)).id != first.id


@pytest.mark.parametrize("what", ["state", "certificate"])
async def test_what_is_lost_or_damaged_is_made_again(kept: Kept, what: str) -> None:
    one = wanted("a.example.test")
    first = await kept.issue(one)
    if what == "state":
        await kept.store.put(one.state_key, b"{")
    else:
        await kept.store.delete(one.certificate_key)
    await kept.look(one)
    assert (await kept.state(one)).id != first.id
    assert await kept.store.get(one.certificate_key) is not None


async def test_a_worker_that_is_late_fails_the_challenge(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CA is not told to look before every worker can answer."""
    monkeypatch.setattr("npserver.tls.acme.answering.solver.WORKERS_S", 0.05)
    agreement: Any = kept.solver._answers.agreement
    agreement._context.row.board.rows.append(agreement._context.row.board.rows[-1][:0].tolist() or [0] * 20_000)
    one = wanted("a.example.test")
    await kept.look(one)
    state = await kept.state(one)
    assert not state.is_issued
    assert "has not taken the answer" in state.error


async def test_answers_of_orders_at_a_time_do_not_take_each_others_place(kept: Kept) -> None:
    names = [wanted(name) for name in ("a.example.test", "*.example.test", "example.test", "alias.example.test")]
    await asyncio.gather(*(kept.look(one) for one in names))
    assert all([(await kept.state(one)).is_issued for one in names])
    assert kept.solver._due_answers().http == {}


async def test_after_a_failure_another_kind_of_challenge_comes_first(
    pebble: Pebble, tmp_path: Path, certificates: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Our zone is not the one that the CA asks. The kind that worked comes first at the renewal."""
    async with keeping(pebble, tmp_path, certificates, ChallengeKind.DNS_01, ChallengeKind.TLS_ALPN_01) as kept:
        one, other = wanted("a.example.test"), wanted("*.example.test")
        for name in ("a.example.test", "example.test"):
            record = f"_acme-challenge.{name}"
            kept.solver._places = {**kept.solver._places, record: Places(record, ("nowhere.example.test",))}
        await kept.look(one)
        assert (await kept.state(one)).error.endswith("; tls-alpn-01 is tried next")
        await kept.look(other)
        assert "tried next" not in (await kept.state(other)).error
        kept.ahead_s += 600
        await kept.look(one)
        first = await kept.state(one)
        assert (first.error, first.failed_kinds) == ("", 1)
        kept.ahead_s += (first.not_after - first.not_before) * 0.7
        await kept.look(one)
        second = await kept.state(one)
        assert second.id != first.id
        assert caplog.text.count("no certificate for a.example.test") == 1


async def test_a_ca_that_is_down_lets_no_other_kind_come_first(kept: Kept, free_port: Callable[[], int]) -> None:
    one = wanted("a.example.test")
    await kept.look(one, kept.client(directory=f"https://127.0.0.1:{free_port()}/dir"))
    state = await kept.state(one)
    assert (state.failures.count, state.failed_kinds) == (1, 0)
