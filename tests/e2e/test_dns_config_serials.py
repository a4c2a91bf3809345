"""Serials of zones of the config rise with each change, over reloads and restarts, alike in all workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import pytest

from tests.e2e.test_dns_zones import addresses, config
from tests.stage.program import Program

Start = Callable[..., Program]


def serials(port: int, name: str = "example.com") -> set[int]:
    """Return those that the workers answer."""
    found = set()
    for _ in range(10):
        reply = dns.query.udp(dns.message.make_query(name, "SOA"), "127.0.0.1", port=port, timeout=20)
        found.add(reply.answer[0][0].serial)
    return found


@pytest.mark.parametrize("soa", [{}, {"SOA": "ns.example.com. host.example.com. 4294967295 3600 600 604800 300"}])
def test_serials_rise_over_reloads_and_restarts(
    program: Start, free_port: Callable[[], int], tmp_path: Path, soa: dict[str, str]
) -> None:
    port = free_port()

    def made(address: str) -> dict[str, Any]:
        return config(
            port,
            dns_zones=["example.com"],
            store=str(tmp_path / "store"),
            dns={"example.com": {"NS": "ns.example.com", **soa}, "x.example.com": {"A": address}},
        )

    one = program(config=made("10.0.0.1"))
    (first,) = serials(port)

    def reload(address: str) -> set[int]:
        one.configure(made(address))
        one.send_signal(signal.SIGHUP)
        one.wait_until(
            lambda: all(addresses(port, "x.example.com") == {address} for _ in range(10)), "the reload"
        )  # fmt: skip
        return serials(port)

    def after(count: int) -> set[int]:
        return {(first + count - 1) % 0xFFFFFFFF + 1}  # 0 is left out

    assert reload("10.0.0.2") == after(1)
    one.send_signal(signal.SIGHUP)
    assert reload("10.0.0.2") == after(1)
    assert reload("10.0.0.1") == after(2)
    for killed in one.children():
        os.kill(killed, signal.SIGKILL)
        one.wait_until(lambda: len(one.children()) == 3 and killed not in one.children(), "its successor")  # noqa: B023
    one.wait_until(lambda: serials(port) == after(2), "its successors' answers")
    one.stop()
    one = program(config=made("10.0.0.1"))
    assert serials(port) == after(2)
    one.stop()
    one = program(config=made("10.0.0.3"))
    assert serials(port) == after(3)
    assert reload("10.0.0.4") == after(4)


def test_a_serial_that_was_raised_counts(program: Start, free_port: Callable[[], int], tmp_path: Path) -> None:
    port = free_port()
    store, apex = str(tmp_path / "store"), {"NS": "ns.example.com"}
    for serial, address, wanted in ((5, 1, 5), (5, 2, 6), (9, 3, 9), (8, 4, 10), (8, 4, 10)):
        soa = f"ns.example.com. host.example.com. {serial} 3600 600 604800 300"
        records = {"example.com": {**apex, "SOA": soa}, "x.example.com": {"A": f"10.0.0.{address}"}}
        one = program(config=config(port, store=store, dns=records))
        assert serials(port) == {wanted}
        one.stop()


def test_what_nobody_transfers_keeps_nothing(program: Start, free_port: Callable[[], int], tmp_path: Path) -> None:
    port = free_port()
    made = config(port, store=str(tmp_path / "store"), dns={"nas.home": {"A": "10.0.0.1"}})
    del made["dispatch"][0]["allow_transfer"]
    one = program(config=made)
    assert len(serials(port, "home")) == 1
    one.stop()
    assert not list((tmp_path / "store").rglob("config_serials*"))
