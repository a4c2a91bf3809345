"""Many updates of several zones, by the whole program: SIGKILL, reloads, a full disk, and the most they may make.

Covers `nameserver.updates.service`.
"""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dns.exception
import dns.update
import httpx
import pytest

from tests.e2e.test_dns_updates import RING, message, send, updated
from tests.e2e.test_dns_zones import addresses, controller, serial
from tests.stage.program import Program

Start = Callable[..., Program]
NAMES = int(os.environ.get("NPSERVER_UPDATED", "12000"))  # of a zone, in long form 100,000
TOGETHER = 1000
ZONES = ("example.com", "one.test", "two.test")
LATE = "does not serve the update"


def address(number: int) -> str:
    return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"


@contextmanager
def storm(port: int, answered: list[tuple[str, int]], refused: list[str]) -> Iterator[None]:
    """Send updates of all zones from a few threads, until the end of the block; note those that were answered."""
    ends = threading.Event()

    def run(first: int) -> None:
        for number in range(first, 60_000, 4):
            zone = ZONES[number % 3]
            made = dns.update.UpdateMessage(zone, keyring=RING, keyname="dhcp")
            made.add(f"h{number}", 60, "A", address(number))
            try:
                said = send(port, made)
            except (OSError, EOFError, dns.exception.DNSException):
                said = ""
            if said == "NOERROR":
                answered.append((zone, number))
            elif said:
                refused.append(said)
            if ends.is_set():
                return

    threads = [threading.Thread(target=run, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ends.set()
        for thread in threads:
            thread.join(60)


def await_updates(one: Program, answered: list[tuple[str, int]], count: int) -> None:
    """Wait until more updates than `count` have been answered from now on."""
    before = len(answered)
    one.wait_until(lambda: len(answered) > before + count, "updates")


def reload(one: Program, turn: int) -> None:
    """Reload the config, after it was reloaded `turn` times."""
    one.send_signal(signal.SIGHUP)
    one.wait_until(lambda: one.errors.count("config reloaded") > turn, "reload")


def of_zones(port: int, directory: Path) -> dict[str, object]:
    parts = updated(port, directory)
    parts["dns_zones"] = [{"name": zone, "updates": [{"key": "dhcp"}]} for zone in ZONES]
    return parts


def check_kept(port: int, answered: list[tuple[str, int]]) -> None:
    for zone, number in answered:
        assert addresses(port, f"h{number}.{zone}", times=1) == {address(number)}, (zone, number)


def test_a_storm_that_is_killed_loses_nothing_that_was_answered(
    program: Start, free_port: Callable[[], int], tmp_path: Path
) -> None:
    """The whole program several times, at moments of its own."""
    port = free_port()
    answered: list[tuple[str, int]] = []
    for turn in range(3):
        one = program(config=of_zones(port, tmp_path))
        with storm(port, answered, []):
            await_updates(one, answered, 50 + 10 * turn)
            one.kill()
    program(config=of_zones(port, tmp_path))
    check_kept(port, answered)


def test_updates_wait_for_a_reload_and_for_another_controller(
    program: Start, free_port: Callable[[], int], tmp_path: Path
) -> None:
    port = free_port()
    one = program(config=of_zones(port, tmp_path))
    answered: list[tuple[str, int]] = []
    refused: list[str] = []
    with storm(port, answered, refused):
        for turn in range(2):
            await_updates(one, answered, 30)
            reload(one, turn)
            os.kill(controller(one), signal.SIGKILL)
            await_updates(one, answered, 30)
    assert refused == []
    check_kept(port, answered)
    one.kill()
    program(config=of_zones(port, tmp_path))
    check_kept(port, answered)


def agreed(one: Program, port: int) -> bool:
    """Whether all workers serve an update before it is answered: they have started."""
    before = one.errors.count(LATE)
    made = dns.update.UpdateMessage(ZONES[0], keyring=RING, keyname="dhcp")
    made.add(f"first{before}", 60, "A", "10.9.9.9")
    assert send(port, made) == "NOERROR"
    return one.errors.count(LATE) == before


def test_updates_between_reloads_are_served_by_all_workers_before_they_are_answered(
    program: Start, free_port: Callable[[], int], tmp_path: Path
) -> None:
    """The service of the former config still tells workers of the zone while it ends an update."""
    port = free_port()
    one = program(config=of_zones(port, tmp_path))
    one.wait_until(lambda: len(one.children()) == 3 and agreed(one, port), "both workers")
    told = one.errors.count(LATE)
    answered: list[tuple[str, int]] = []
    refused: list[str] = []
    with storm(port, answered, refused):
        for turn in range(80):
            reload(one, turn)
    assert refused == []
    assert one.errors.count(LATE) == told
    check_kept(port, answered)


def test_a_zone_of_many_updated_names(program: Start, free_port: Callable[[], int], tmp_path: Path) -> None:
    """One more name is one small write; all workers have all, a restart too."""
    port = free_port()
    one = program(config=updated(port, tmp_path))
    for first in range(0, NAMES, TOGETHER):
        made = message()
        for number in range(first, first + TOGETHER):
            made.add(f"h{number}.dyn", 60, "A", address(number))
        assert send(port, made) == "NOERROR"
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*") if path.is_file()}
    before, begun = serial(port), time.monotonic()
    made = message()
    made.add("last.dyn", 60, "A", "10.0.0.9")
    assert send(port, made) == "NOERROR"
    assert time.monotonic() - begun < 1
    written = [path for path in (tmp_path / "store").rglob("*") if path.is_file() and
               files.get(path) != path.stat().st_mtime_ns]  # fmt: skip
    assert sum(path.stat().st_size for path in written) < 140_000
    assert addresses(port, "last.dyn.example.com") == {"10.0.0.9"}
    one.kill()
    one = program(config=updated(port, tmp_path))
    for number in (0, NAMES // 2, NAMES - 1):
        assert addresses(port, f"h{number}.dyn.example.com") == {address(number)}
    assert serial(port) == before + 1
    os.kill(one.children()[-1], signal.SIGKILL)
    one.wait_for("restarting it")
    one.wait_until(lambda: addresses(port, "last.dyn.example.com") == {"10.0.0.9"}, "all records")


def test_a_full_disk(program: Start, free_port: Callable[[], int], tmp_path: Path) -> None:
    """What cannot be kept is answered with SERVFAIL and not served; it works again once there is space."""
    port = free_port()
    one = program(config=updated(port, tmp_path))
    pid = controller(one)
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    text = '"' + "x" * 200 + '"'

    def add(name: str) -> str:
        made = message()
        made.add(name, 60, "A", "10.0.0.9")
        for number in range(20):
            made.add(name, 60, "TXT", f'"{number}" {text}')
        return send(port, made)

    assert add("a.dyn") == "NOERROR"
    before = serial(port)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (8000, hard))
    assert [add(f"{name}.dyn") for name in "bcd"][-1] == "SERVFAIL"
    one.wait_for(
        r"error dns: updates of example\.com\. are refused, as they cannot be kept \(store\): .*: file too large"
    )
    assert one.errors.count("cannot be kept (store)") == 1
    refused = [name for name in ("b.dyn", "c.dyn", "d.dyn") if addresses(port, f"{name}.example.com") == {"NXDOMAIN"}]
    assert refused
    assert serial(port) <= before + 1
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, hard))
    assert add("e.dyn") == "NOERROR"
    one.wait_for(r"info  dns: updates of example\.com\. can be kept again \(store\)")
    one.kill()
    program(config=updated(port, tmp_path))
    assert addresses(port, "a.dyn.example.com") == addresses(port, "e.dyn.example.com") == {"10.0.0.9"}
    for name in refused:
        assert addresses(port, f"{name}.example.com") == {"NXDOMAIN"}


def test_the_most_that_updates_may_make(program: Start, free_port: Callable[[], int], tmp_path: Path) -> None:
    """More is refused with the key that says so; names can be removed then, and others take their place."""
    port = free_port()
    one = program(config=updated(port, tmp_path, updates_max_size=4000))

    def add(name: str) -> str:
        made = message()
        made.add(name, 60, "TXT", "x" * 200)
        return send(port, made)

    answers = [add(f"h{number}.dyn") for number in range(20)]
    fit = answers.index("REFUSED")
    assert 10 < fit < 20
    assert answers == ["NOERROR"] * fit + ["REFUSED"] * (20 - fit)
    one.wait_for(
        r"refused, REFUSED: what updates have made of the zone takes 3\d{3} of 4000 bytes: remove names, or raise "
        r"dns_zones\[0\]\.updates_max_size"
    )
    made = message()
    made.delete("h0.dyn")
    assert send(port, made) == "NOERROR"
    assert add("x.dyn") == "NOERROR"
    assert add("y.dyn") == "REFUSED"


def test_the_status_page_has_what_updates_have_made(
    program: Start, free_port: Callable[[], int], tmp_path: Path
) -> None:
    port, status = free_port(), free_port()
    parts = updated(port, tmp_path)
    parts["listen"].append({"name": "status", "uri": f"http://127.0.0.1:{status}"})
    parts["dispatch"].append({"listener": "status", "handler": "status", "path": "/status"})
    one = program(config=parts)
    before = serial(port)
    for number in range(3):
        made = message()
        made.add(f"h{number}.dyn", 60, "A", "10.0.0.9")
        assert send(port, made) == "NOERROR"

    def shown() -> tuple[int, float]:
        found = httpx.get(f"http://127.0.0.1:{status}/status?format=json", timeout=20).json()
        done = {one["result"]: one["value"] for one in found["metrics"]["npserver_dns_updates_total"]}
        return found["zones"][0]["serial"], done["done"]

    one.wait_until(lambda: shown() == (before + 3, 3), "serial and counter")


@pytest.mark.parametrize("over", ["tcp", "udp"])
def test_an_update_that_is_too_large(program: Start, free_port: Callable[[], int], tmp_path: Path, over: str) -> None:
    """Of a message that changes more records than the store takes at a time; the next one is made."""
    port = free_port()
    one = program(config=updated(port, tmp_path))
    if over == "tcp":
        for name in range(20):
            made = message()
            for number in range(200):
                made.add(f"h{name}.dyn", 60, "TXT", f"{number} " + "x" * 250)
            assert send(port, made) == "NOERROR"
        made = message()
        for name in range(20):
            made.add(f"h{name}.dyn", 61, "TXT", "one more")
        assert send(port, made) == "REFUSED"
        one.wait_for("refused, REFUSED: it changes records of more than 900 KiB")
    made = message()
    made.add("x.dyn", 60, "A", "10.0.0.9")
    assert send(port, made, over=over) == "NOERROR"
