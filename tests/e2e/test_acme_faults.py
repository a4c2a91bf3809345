"""A CA that fails: the whole program with two workers goes on, and its clients notice nothing.

Covers `tls.acme.manager`.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from tests.stage.acme_program import ISSUED, SteadyClient, certificate_at, check_whole, config, state_of, wait_trusted
from tests.stage.ca_steps import STEPS_OF_ORDER, CaSteps
from tests.stage.clock import Clock
from tests.stage.faulty_ca import FAILURES, FaultyCa, always, faulty_ca_in_thread, never, response
from tests.stage.pebble import Pebble, running_pebble
from tests.stage.program import Program
from tests.stage.programs import needs

pytestmark = needs("pebble")

Start = Callable[..., Program]
NAME = "web.example.test"
AGAIN = "+10m"  # past the first delay, which is 5 minutes and up to a quarter more
REFUSED = r"no certificate for {}: .*(?:{}).*; next attempt in [56] min \(tls\.acme\)"


def test_a_ca_that_fails_at_any_step_and_comes_back(
    ca: FaultyCa, program: Start, pebble: Pebble, tmp_path: Path
) -> None:
    """Each host has another step at which the CA fails. No client notices, and when the CA is well, all are issued."""
    clock, steps = Clock(tmp_path), CaSteps(ca)
    hosts = {step: f"{step}.example.test" for step in STEPS_OF_ORDER}
    failures = [FAILURES[name][0] for name in ("closes", "unavailable", "garbage")]
    steps.at[("", "account")] = failures[0]
    one = program(config=config(pebble, tmp_path, *hosts.values(), directory=ca.url), env=clock.environment)
    with SteadyClient(pebble.tls_port, hosts["finalize"]):
        for host in hosts.values():
            one.wait_for(REFUSED.format(host, "registering the account: "), 30)
        for offset, minutes in (("+10m", "1[0-2]"), ("+40m", "2[0-5]")):
            failures.append(failures.pop(0))
            steps.at = {(host, step): failures[number % 3] for number, (step, host) in enumerate(hosts.items())}
            clock.set(offset)
            for host in hosts.values():
                one.wait_for(rf"no certificate for {host}: .*; next attempt in {minutes} min \(tls\.acme\)", 30)
        check_whole(tmp_path / "store")
        steps.at.clear()
        clock.set("+90m")
        for host in hosts.values():
            one.wait_for(ISSUED.format(host), 30)
        wait_trusted(one, pebble, hosts["finalize"])
    assert {state_of(tmp_path / "store", host)["failures"]["count"] for host in hosts.values()} == {0}
    check_whole(tmp_path / "store")


def test_a_ca_that_hangs_at_any_step_keeps_nobody_waiting(
    ca: FaultyCa, program: Start, pebble: Pebble, tmp_path: Path
) -> None:
    """Neither clients, nor a reload, which begins the orders again, nor the end."""
    steps = CaSteps(ca)
    hosts = {step: f"{step}.example.test" for step in STEPS_OF_ORDER[:4]}  # as many as are in progress at a time
    steps.at = {(host, step): never for step, host in hosts.items()}
    made = config(pebble, tmp_path, *hosts.values(), directory=ca.url)
    one = program(config=made)

    def do_all_hang() -> bool:
        return {(host, step) for step, host in hosts.items()} <= {*steps.seen}

    with SteadyClient(pebble.tls_port, hosts["order"]):
        one.wait_until(do_all_hang, "requests that hang")
        steps.at.clear()
        one.send_signal(signal.SIGHUP)
        for host in hosts.values():
            one.wait_for(ISSUED.format(host), 30)
    assert "no certificate for order.example.test: " not in one.errors
    steps.at[("new.example.test", "authorisation")] = never
    one.configure(config(pebble, tmp_path, *hosts.values(), "new.example.test", directory=ca.url))
    one.send_signal(signal.SIGHUP)
    one.wait_until(lambda: ("new.example.test", "authorisation") in steps.seen, "an order that hangs")
    one.stop()
    assert state_of(tmp_path / "store", "new.example.test")["broken_off"] == 0


def test_a_ca_that_is_unreachable_at_the_start_and_there_later(
    ca: FaultyCa, program: Start, pebble: Pebble, tmp_path: Path
) -> None:
    """By then it limits us: its Retry-After is kept, over a restart too."""
    clock = Clock(tmp_path)
    ca.answers["/"] = always(None)
    made = config(pebble, tmp_path, NAME, directory=ca.url)
    one = program(config=made, env=clock.environment)
    with SteadyClient(pebble.tls_port, NAME):
        one.wait_for(REFUSED.format(NAME, "reading the directory: "))
        limit = {"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many new orders"}
        ca.answers = {"/order-plz": always(response(429, limit, Retry_After="7200"))}
        clock.set(AGAIN)
        one.wait_for(rf"no certificate for {NAME}: .*'too many new orders' \(rateLimited\); next attempt in 120 min")
    one.stop()
    ca.answers.clear()
    clock.set("+100m")
    asked = len(ca.seen)
    one = program(config=made, env=clock.environment)
    with SteadyClient(pebble.tls_port, NAME):
        one.wait_for("npserver 1")
        certificate_at(pebble.tls_port, NAME)
        assert len(ca.seen) == asked
        clock.set("+140m")
        one.wait_for(ISSUED.format(NAME), 30)
        wait_trusted(one, pebble, NAME)


def test_the_next_ca_is_asked_where_one_is_down_or_refuses(
    ca: FaultyCa, program: Start, pebble: Pebble, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    ca.answers["/order-plz"] = always(response(403, {"type": "urn:ietf:params:acme:error:rejectedIdentifier"}))
    down = f"https://127.0.0.1:{free_port()}/dir"
    one = program(config=config(pebble, tmp_path, NAME, directory=[down, ca.url, pebble.url]))
    one.wait_for(ISSUED.format(NAME), 30)
    assert f"; asking {ca.url}" in one.errors
    assert f"; asking {pebble.url}" in one.errors
    assert state_of(tmp_path / "store", NAME)["directory"] == pebble.url


@pytest.mark.parametrize("spoiled", ["address", "port"])
def test_what_the_ca_cannot_validate_is_told_and_tried_again_later(
    program: Start, pebble: Pebble, tmp_path: Path, free_port: Callable[[], int], spoiled: str
) -> None:
    """The name leads elsewhere, or port 80 is closed; once that is mended, all goes on."""
    clock = Clock(tmp_path)
    good = config(pebble, tmp_path, NAME, challenge=["http"])
    bad = json.loads(json.dumps(good))
    if spoiled == "address":
        bad["dns"]["*.example.test"]["A"] = "127.0.0.99"
    else:
        bad["listen"][0]["uri"] = f"http://127.0.0.1:{free_port()}"
    one = program(config=bad, env=clock.environment)
    one.wait_for(REFUSED.format(NAME, rf"could not validate {NAME}: .*(connection|refused)"), 30)
    assert state_of(tmp_path / "store", NAME)["failures"]["count"] == 1
    one.configure(good)
    one.send_signal(signal.SIGHUP)
    one.wait_for("reloaded")
    clock.set(AGAIN)
    one.wait_for(ISSUED.format(NAME), 30)
    wait_trusted(one, pebble, NAME)


def test_half_of_all_nonces_are_refused(program: Start, authority: trustme.CA, tmp_path: Path) -> None:
    hosts = [f"host{number}.example.test" for number in range(4)]
    with running_pebble(tmp_path / "pebble", authority, PEBBLE_WFE_NONCEREJECT="50") as pebble:
        one = program(config=config(pebble, tmp_path, *hosts))
        for host in hosts:
            one.wait_for(ISSUED.format(host), 30)
        assert "no certificate for host0.example.test: " not in one.errors
        paths = ("sign-me-up", "order-plz", "chalZ", "finalize-order", "certZ")
        assert sum(pebble.log.count(f"POST /{path}") for path in paths) > 4 * len(hosts) + 1
        one.stop()


def test_an_authorisation_that_is_valid_already_is_taken_as_it_is(
    program: Start, authority: trustme.CA, tmp_path: Path
) -> None:
    """HAProxy waited for ever for the validation of a name that was valid."""
    with (
        running_pebble(tmp_path / "pebble", authority, PEBBLE_AUTHZREUSE="100") as pebble,
        faulty_ca_in_thread(pebble, authority, tmp_path) as ca,
    ):
        one = program(config=config(pebble, tmp_path, NAME, directory=ca.url))
        one.wait_for(ISSUED.format(NAME), 30)
        one.stop()
        for file in (tmp_path / "store/acme").rglob(f"{NAME}*"):
            file.unlink()
        one = program(config=config(pebble, tmp_path, NAME, directory=ca.url))
        one.wait_for(ISSUED.format(NAME), 30)
        wait_trusted(one, pebble, NAME)
        assert ca.paths().count("/order-plz") == 2
        assert ca.paths().count("/chalZ") == 1
        one.stop()
