"""SIGKILL at each step of an order, of the controller and of everything; and two programs that share a store.

Covers `tls.acme.manager` and `store.lock_file`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import dns.message
import dns.query
import pytest
import trustme

from tests.stage.acme_program import (
    ISSUED,
    SteadyClient,
    check_whole,
    config,
    state_of,
    wait_trusted,
)
from tests.stage.asking import refuses
from tests.stage.ca_steps import CaSteps
from tests.stage.faulty_ca import FaultyCa, Request, always, faulty_ca_in_thread, never
from tests.stage.pebble import Pebble, running_pebble
from tests.stage.program import Program
from tests.stage.programs import needs
from tests.stage.waiting import wait_until

pytestmark = needs("pebble")

Start = Callable[..., Program]
#: The steps, in halves: each test has one certificate for each step. `stored`: the certificate is, its state is not.
HALVES = [("account", "order", "authorisation", "challenge"), ("finalize", "poll", "certificate", "stored")]


def host_of(step: str) -> str:
    return f"{step}.example.test"


def hold(steps: CaSteps, step: str) -> None:
    """Let the CA give no answer at a step of its host's order."""
    steps.at = {("" if step == "account" else host_of(step), step): never}


def wait_held(one: Program, steps: CaSteps, step: str, store: Path) -> None:
    """Wait until the order of the step's host has come to the step."""
    if step == "stored":
        file = store / "acme/certificates" / f"{host_of(step)}.pem"
        one.wait_until(file.exists, "a certificate of the local authority")
        wait_until(lambda: not is_stand_in(file), "a certificate of the CA", directory=file.parent)  # without delay
    else:
        one.wait_until(lambda: steps.at.keys() <= {*steps.seen}, f"the step {step}", 20)


def is_stand_in(file: Path) -> bool:
    """Whether a certificate is of the local authority, which signs without an intermediate certificate."""
    return file.read_bytes().count(b"BEGIN CERTIFICATE") < 2


def text_records(pebble: Pebble, host: str) -> int:
    """Return how many TXT records the name server has for the challenge of a host."""
    query = dns.message.make_query(f"_acme-challenge.{host}", "TXT")
    return len(dns.query.udp(query, "127.0.0.1", 5, pebble.dns_port).answer)


@pytest.mark.parametrize("half", HALVES, ids=["before it is proved", "after it is proved"])
def test_everything_is_killed_at_a_step_and_the_next_start_goes_on(
    ca: FaultyCa, program: Start, pebble: Pebble, tmp_path: Path, half: Sequence[str]
) -> None:
    """At once, for nothing that the dead have held is waited for; and whatever the store holds is whole."""
    steps, store, before = CaSteps(ca), tmp_path / "store", pebble.orders()
    hosts: list[str] = []
    for step in half:
        hosts.append(host_of(step))
        hold(steps, step)
        one = program(config=config(pebble, tmp_path, *hosts, directory=ca.url))
        wait_held(one, steps, step, store)
        for host in hosts[-2:-1]:
            wait_trusted(one, pebble, host)
        one.kill()
        one.wait_until(lambda: refuses(pebble.tls_port), "the end of the workers")
        check_whole(store)
    steps.at.clear()
    one = program(config=config(pebble, tmp_path, *hosts, directory=ca.url))
    wait_trusted(one, pebble, hosts[-1])
    one.wait_until(lambda: state_of(store, hosts[-1])["directory"], "a state that is stored")
    one.stop()
    check_whole(store)
    assert [state_of(store, host)["broken_off"] for host in hosts] == [0] * len(hosts)
    assert [state_of(store, host)["failures"]["count"] for host in hosts] == [0] * len(hosts)
    assert not (store / ".new").exists()
    assert len(list((store / "acme/accounts").iterdir())) == 1
    assert pebble.orders() - before <= 2 * len(hosts)


@pytest.mark.parametrize("half", HALVES, ids=["before it is proved", "after it is proved"])
def test_the_controller_is_killed_at_a_step_and_the_next_one_goes_on(
    ca: FaultyCa, program: Start, pebble: Pebble, tmp_path: Path, half: Sequence[str]
) -> None:
    """The workers serve on, with the same processes."""
    steps, store = CaSteps(ca), tmp_path / "store"
    hosts = [host_of(half[0])]
    hold(steps, half[0])
    one = program(config=config(pebble, tmp_path, *hosts, directory=ca.url))
    one.wait_for("npserver 1")
    workers = sorted(one.children())[:-1]
    with SteadyClient(pebble.tls_port, hosts[0]):
        for step in half:
            if host_of(step) not in hosts:
                hosts.append(host_of(step))
                hold(steps, step)
                one.configure(config(pebble, tmp_path, *hosts, directory=ca.url))
                one.send_signal(signal.SIGHUP)
            wait_held(one, steps, step, store)
            os.kill(max(one.children()), signal.SIGKILL)  # it was forked last
            steps.at.clear()
            check_whole(store)
            one.wait_until(lambda step=step: state_of(store, host_of(step))["directory"], "a stored state", 30)
        wait_trusted(one, pebble, hosts[-1])
        one.wait_until(lambda: len(one.children()) == 3, "a controller")
    assert sorted(one.children())[:-1] == workers
    assert one.errors.count("controller exited (signal SIGKILL)") == len(half)
    one.stop()
    check_whole(store)


def test_the_answers_of_a_controller_that_was_killed_are_taken_back(
    ca: FaultyCa, program: Start, pebble: Pebble, tmp_path: Path
) -> None:
    """From all workers, also if the next one orders nothing, as the CA is down."""
    steps, host = CaSteps(ca), host_of("challenge")
    hold(steps, "challenge")
    one = program(config=config(pebble, tmp_path, host, directory=ca.url))
    wait_held(one, steps, "challenge", tmp_path / "store")
    assert text_records(pebble, host) == 1
    ca.answers = {"/": always(None)}
    os.kill(max(one.children()), signal.SIGKILL)
    one.wait_until(lambda: not any(text_records(pebble, host) for _ in range(12)), "no answers of the dead")


def test_a_worker_that_is_killed_during_an_order_answers_the_ca_after_it_was_started_again(
    ca: FaultyCa, program: Start, pebble: Pebble, tmp_path: Path
) -> None:
    """Both workers are: the CA asks whichever is there."""
    steps, host, go_on = CaSteps(ca), host_of("challenge"), threading.Event()

    async def wait(request: Request) -> bytes:
        await asyncio.to_thread(go_on.wait, 30)
        return await ca.ask_pebble(request)

    steps.at = {(host, "challenge"): wait}
    one = program(config=config(pebble, tmp_path, host, directory=ca.url, challenge=["http"]))
    wait_held(one, steps, "challenge", tmp_path / "store")
    controller = max(one.children())
    for worker in sorted(one.children())[:-1]:
        os.kill(worker, signal.SIGKILL)
    one.wait_until(lambda: len(one.children()) == 3 and min(one.children()) >= controller, "workers again")
    go_on.set()
    one.wait_for(ISSUED.format(host), 30)
    wait_trusted(one, pebble, host)


@pytest.mark.parametrize("what", ["certificate", "end"])
def test_a_damaged_certificate_in_the_store_is_ordered_again(
    program: Start, pebble: Pebble, tmp_path: Path, what: str
) -> None:
    """By a disk, not by us. No other site waits for somebody who removes the file."""
    made = config(pebble, tmp_path, "web.example.test")
    one = program(config=made)
    one.wait_for(ISSUED.format("web.example.test"), 30)
    one.stop()
    file = tmp_path / "store/acme/certificates/web.example.test.pem"
    pem = file.read_bytes()
    file.write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA" + pem[32:] if what == "certificate" else pem[:-100])
    one = program(config=made)
    one.wait_for("warning: the stored certificate for 'web.example.test' is damaged: another one is ordered")
    one.wait_for(ISSUED.format("web.example.test"), 30)
    wait_trusted(one, pebble, "web.example.test")


def test_two_programs_on_one_store_make_one_order_and_one_goes_on_for_the_other(
    program: Start, authority: trustme.CA, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """The second one has the certificate as well. The CA believes everything: it can ask only one of the two."""
    with (
        running_pebble(tmp_path / "pebble", authority, PEBBLE_VA_ALWAYS_VALID="1") as pebble,
        faulty_ca_in_thread(pebble, authority, tmp_path) as ca,
    ):
        steps = CaSteps(ca)
        ports = [pebble.tls_port, free_port()]

        def start(number: int, *hosts: str) -> Program:
            made = config(pebble, tmp_path, *hosts, directory=ca.url)
            home = tmp_path / str(number)
            home.mkdir(exist_ok=True)
            if number:
                uris = (
                    f"http://127.0.0.1:{free_port()}",
                    f"https://127.0.0.1:{ports[1]}",
                    f"udp://127.0.0.1:{free_port()}",
                )
                for listener, uri in zip(made["listen"], uris, strict=True):
                    listener["uri"] = uri
            return program(config=made, cwd=home, wait=False)

        hosts = ["a.example.test", "b.example.test"]
        both = [start(number, *hosts) for number in (0, 1)]
        for one, port in zip(both, ports, strict=True):
            one.wait_ready()
            for host in hosts:
                wait_trusted(one, pebble, host, port)
        assert pebble.orders() == len(hosts)
        assert len(list((tmp_path / "store/acme/accounts").iterdir())) == 1

        both[1].stop()
        hosts.append("finalize.example.test")
        hold(steps, "finalize")
        both[0].configure(config(pebble, tmp_path, *hosts, directory=ca.url))
        both[0].send_signal(signal.SIGHUP)
        wait_held(both[0], steps, "finalize", tmp_path / "store")
        both[1] = start(1, *hosts)
        both[1].wait_ready()
        steps.at.clear()
        both[1].wait_for("no certificate for finalize.example.test yet")
        assert "issued by" not in both[1].errors
        both[0].kill()
        both[1].wait_for(ISSUED.format("finalize.example.test"), 30)
        wait_trusted(both[1], pebble, "finalize.example.test", ports[1])
        both[1].stop()
        check_whole(tmp_path / "store")
