"""Renewal by the clock: at two thirds of the life, when the CA says so, and what a clock that jumps does to it.

Covers `tls.acme.clock_jumps` and `tls.acme.schedule` in the whole program.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from tests.stage.acme_program import ISSUED, SteadyClient, certificate_at, config, state_of, wait_trusted
from tests.stage.clock import Clock
from tests.stage.faulty_ca import FaultyCa, always, changed, faulty_ca_in_thread, response
from tests.stage.pebble import Pebble, running_pebble
from tests.stage.program import Program
from tests.stage.programs import needs

pytestmark = needs("pebble")

Start = Callable[..., Program]
NAME = "web.example.test"
SIX_DAYS_S = 6 * 86400


@pytest.fixture(scope="module")
def pebble(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA) -> Iterator[Pebble]:
    with running_pebble(tmp_path_factory.mktemp("ca") / "pebble", authority, life_s=SIX_DAYS_S) as running:
        yield running


class Moved:
    """A program whose clock is moved."""

    def __init__(self, one: Program, clock: Clock, pebble: Pebble, before: int) -> None:
        self.one = one
        self.clock = clock
        self._pebble = pebble
        self._before = before

    @property
    def orders(self) -> int:
        """How many it has placed."""
        return self._pebble.orders() - self._before

    def move(self, offset: str, expected: str = "the clock has jumped by") -> None:
        """Set the clock, and wait for a line in the log."""
        self.one.forget_errors()
        self.clock.set(offset)
        self.one.wait_for_new(expected, 30)


@pytest.fixture
def ca(pebble: Pebble, authority: trustme.CA, tmp_path: Path) -> Iterator[FaultyCa]:
    with faulty_ca_in_thread(pebble, authority, tmp_path) as one:
        yield one


@pytest.fixture
def moved(ca: FaultyCa, program: Start, pebble: Pebble, tmp_path: Path) -> Moved:
    """Return one that has its first certificate."""
    clock, before = Clock(tmp_path), pebble.orders()
    one = program(config=config(pebble, tmp_path, NAME, directory=ca.url), env=clock.environment)
    one.wait_for(ISSUED.format(NAME), 30)
    wait_trusted(one, pebble, NAME)
    return Moved(one, clock, pebble, before)


def test_one_of_six_days_is_renewed_at_two_thirds_of_its_life(moved: Moved, pebble: Pebble) -> None:
    first = certificate_at(pebble.tls_port, NAME)
    with SteadyClient(pebble.tls_port, NAME) as client:
        moved.move("+95h")
        moved.move("+97h", ISSUED.format(NAME))
        moved.one.wait_until(lambda: len(client.certificates) == 2, "the renewed one")
        moved.one.wait_until(
            lambda: all(certificate_at(pebble.tls_port, NAME) != first for _ in range(12)), "the renewed one everywhere"
        )
    assert moved.orders == 2


def test_a_clock_that_jumps_stops_no_serving_and_makes_no_storm_of_orders(
    moved: Moved, ca: FaultyCa, pebble: Pebble, tmp_path: Path
) -> None:
    """Nor does what failed at a time to come keep the next attempt waiting when the clock is right again."""
    with SteadyClient(pebble.tls_port, NAME):
        moved.move("+1d")
        moved.move("-3d")  # before the certificate is valid
        assert moved.orders == 1
        moved.move("+3650d", r"due for renewal soon after it was issued \(1 in a row\): next order in [56] min; is the")
        assert moved.orders == 2
        ca.answers["/dir"] = always(response(503))
        moved.move("+7300d", rf"no certificate for {NAME}: reading the directory: ")
        ca.answers.clear()
        moved.move("+0")
        moved.move("-3d")
        assert moved.orders == 2
        moved.move("+97h", ISSUED.format(NAME))
        wait_trusted(moved.one, pebble, NAME)
    assert moved.orders == 3
    assert state_of(tmp_path / "store", NAME)["failures"]["count"] == 0


def test_a_renewal_that_the_ca_moves_forward(moved: Moved, ca: FaultyCa, pebble: Pebble, tmp_path: Path) -> None:
    """RFC 9773, which pebble 2.4.0 does not have: the order of the renewal says what it replaces."""

    def window(begin_s: float) -> bytes:
        begin, end = (time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + begin_s + it)) for it in (0, 3600))
        return response(200, {"suggestedWindow": {"start": begin, "end": end}, "explanationURL": "https://ca.test/why"})

    url = ca.url.replace("/dir", "/renewal-info")
    ca.answers = {
        "/dir": changed(ca, lambda directory: directory.update(renewalInfo=url)),
        "/renewal-info/": always(window(4 * 86400)),
    }
    why = rf"{re.escape(ca.url)} says why it moves the renewal: https://ca\.test/why"
    first = certificate_at(pebble.tls_port, NAME)
    moved.move("+2m", why)
    moved.one.wait_until(lambda: state_of(tmp_path / "store", NAME)["window"], "the window in the store")
    assert moved.orders == 1
    ca.answers["/renewal-info/"] = always(window(-86400))
    moved.move("+7h", why)
    moved.one.wait_for_new(ISSUED.format(NAME), 30)
    moved.one.wait_until(lambda: certificate_at(pebble.tls_port, NAME) != first, "the renewed one")
    asked = next(one.path for one in ca.seen if one.path.startswith("/renewal-info/"))
    placed = [one.payload for one in ca.seen if one.path == "/order-plz"]
    assert [one.get("replaces") for one in placed] == [None, asked.removeprefix("/renewal-info/")]
