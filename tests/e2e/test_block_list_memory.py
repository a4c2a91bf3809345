"""The memory of a large block list: once for all processes, and no more after many refreshes.

`NPSERVER_NAMES=1000000` makes the long form of it: a million names take less than 60 MB in all processes together.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import dns.message
import dns.query
import pytest

from tests.stage.asking import get
from tests.stage.block_lists import ADDRESS, AnyResolver, result_of
from tests.stage.program import Program

NAMES = int(os.environ.get("NPSERVER_NAMES", "100000"))
REFRESHES = 4
BYTES_PER_NAME = 40  # in all processes together; 8 to 9 are those of the table
OVERHEAD_KIB = 8192  # of what is loaded with the first list: the list of public suffixes, regular expressions


def memory_kib(pids: list[int]) -> int:
    """Return the memory of processes, what they share counted once, and that of the tables, looked at or not."""
    texts = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids]
    return tables_kib(pids[0]) + sum(int(re.findall(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)[0]) for text in texts)


def tables_kib(pid: int) -> int:
    """Return the memory of the tables, which all processes share."""
    files = [path for path in Path(f"/proc/{pid}/fd").iterdir() if os.readlink(path).startswith("/memfd:npserver")]
    return sum(path.stat().st_blocks // 2 for path in files)


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="looks at /proc")
@pytest.mark.timeout(120 + NAMES // 5000)
def test_a_large_list_takes_its_memory_once(
    program: Callable[..., Program], free_port: Callable[[], int], tmp_path: Path
) -> None:
    port, status_port = free_port(), free_port()
    hosts = tmp_path / "hosts.txt"
    hosts.write_text("0.0.0.0 first.example\n")

    def ask(name: str) -> str:
        query = dns.message.make_query(name, "A")
        return result_of(dns.query.udp(query, "127.0.0.1", port=port, timeout=20))

    def write(start: int) -> None:
        fresh = tmp_path / "new"
        with fresh.open("w") as file:
            for number in range(start, start + NAMES):
                file.write(f"0.0.0.0 n{number}.ads{number % 1000}.example\n")
        fresh.rename(hosts)

    def is_loaded(start: int) -> bool:
        names = [f"n{number}.ads{number % 1000}.example" for number in (start, start + NAMES - 1)]
        return all(ask(name) == "NXDOMAIN" for name in names for _ in range(12))

    with AnyResolver() as resolver:
        running = program(
            config={
                "listen": [
                    {"name": "u", "uri": f"udp://127.0.0.1:{port}"},
                    {"name": "status", "uri": f"http://127.0.0.1:{status_port}"},
                ],
                "workers": 2,
                "dns_forward": [resolver.address],
                "dns_block": {"lists": [str(hosts)]},
                "dispatch": [
                    {"listener": "u", "handler": "dns"},
                    {"listener": "status", "handler": "status", "path": "/status"},
                ],
            }
        )
        running.wait_for("npserver 1")
        running.wait_until(lambda: ask("first.example") == "NXDOMAIN", "the first list")
        assert ask("second.example") == ADDRESS
        pids = [running.process.pid, *running.children()]
        get(status_port, "/status")
        before_kib = memory_kib(pids)
        most_kib = before_kib + OVERHEAD_KIB + NAMES * BYTES_PER_NAME // 1024
        for refresh in range(REFRESHES):
            write(refresh * 10)
            running.wait_until(lambda refresh=refresh: is_loaded(refresh * 10), "the next list", 60 + NAMES / 5000)
        # the tables before are freed 10 s after they were replaced
        most_tables_kib = 64 + NAMES * 10 // 1024
        running.wait_until(lambda: tables_kib(pids[0]) < most_tables_kib, f"tables below {most_tables_kib} KiB", 30)
        assert memory_kib(pids) < most_kib
        assert [running.process.pid, *running.children()] == pids
        print(f"{NAMES} names: {(memory_kib(pids) - before_kib) / 1024:.1f} MiB, {tables_kib(pids[0])} KiB of tables")
        if NAMES >= 1_000_000:
            assert memory_kib(pids) - before_kib < 60 * 1024
