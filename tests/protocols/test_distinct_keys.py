"""A flood of clients, each with an address of its own: rate limits and bans keep a fixed number of them.

`NPSERVER_KEYS=10000000` makes the long form of it.
"""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import pytest

from npserver.limits.client_key import client_key
from npserver.limits.limiter import MAX_PLACES, RateLimiter
from npserver.limits.rate import parse_rate
from npserver.limits.table import WAYS
from npserver.network_sets.ban_service import MAX_PAST
from npserver.network_sets.bans import MAX_KNOWN_KEYS, learnt_set
from tests.protocols.learning import bans, is_now, learning, until

KEYS = int(os.environ.get("NPSERVER_KEYS", "100000"))
ROOM = 4096  # keys that the table has room for
MAX_BANS = 64
BANNED = 100  # every so many-th client is banned
GROWTH_KIB = 1024  # 20 bytes for each client of the second half of the short form


def resident_kib() -> int:
    text = Path("/proc/self/status").read_text()
    return int(re.findall(r"^VmRSS:\s+(\d+) kB", text, re.MULTILINE)[0])


def address(number: int) -> str:
    """Return an address in a /64 of its own."""
    return f"2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::1"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks at /proc")
@pytest.mark.timeout(60 + KEYS // 10_000)
async def test_memory_is_flat_however_many_keys_there_are(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING")
    limits, entry = {"rate_limit_keys": ROOM}, {"max_bans": MAX_BANS, "doubling": True}
    async with learning({"scan": 2}, tmp_path=tmp_path, limits=limits, entry=entry) as found:
        context = found.server._single.data_plane.context
        board, learnt, rate = context.row.board, learnt_set(context, "n"), parse_rate("2/h")
        assert rate is not None
        limiter = RateLimiter(context.row, rate, "flood", "flood", lambda ip: client_key(ip, 64))
        half_kib = 0
        for number in range(KEYS):
            ip = address(number)
            assert limiter.take(ip) == 0
            learnt.notice("scan", ip)
            if not number % BANNED:
                learnt.notice("scan", ip)
                assert ip in learnt.banned
            if not number % 1000:
                await asyncio.sleep(0)  # the service of bans has its turn
            if number == KEYS // 2:
                half_kib = resident_kib()
        grown_kib = resident_kib() - half_kib
        await until(lambda: is_now(bans(found), MAX_BANS))
        cells = board.rates.cells
        assert cells.nbytes == ROOM * 16
        tags = sum(1 for index, cell in enumerate(cells.tolist()) if cell and index % (2 * WAYS) < WAYS)
        assert tags == ROOM
        assert len(limiter._places) <= MAX_PLACES
        assert len(learnt.banned._client_of) <= MAX_KNOWN_KEYS
        assert len(learnt.banned.by_client) <= MAX_BANS
        assert len(learnt.times) <= min(MAX_PAST, KEYS // BANNED + 1)
        assert grown_kib < GROWTH_KIB
        assert address(KEYS - BANNED) in learnt.banned  # the latest ban is in force, the first has made room
        assert address(0) not in learnt.banned
