"""The query log: its formats, and a file that comes and goes with the config."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from npserver.observe.access_log import AccessLog
from npserver.observe.config import Logging
from npserver.observe.request_record import QueryRecord

RECORD = QueryRecord(
    "192.168.1.7", "udp", "nas.home.", "A", "NOERROR", ("aa", "rd"), 58, 0.000_123_4, "zone home"
)  # fmt: skip
HOSTILE = QueryRecord("::1", "tls", "a\x1b[31m\u202e.x.", "A", "dropped", (), 0, 0.0, "")


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def log_of(loop: asyncio.AbstractEventLoop, file: Path, **settings: str) -> AccessLog:
    return AccessLog(Logging(access_log="off", query_log=str(file), **settings), loop)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["pretty", "combined"])
def test_lines_for_people(loop: asyncio.AbstractEventLoop, tmp_path: Path, form: str) -> None:
    log = log_of(loop, tmp_path / "q", format=form)
    log.query_log.query(RECORD)
    log.query_log.query(HOSTILE)
    log.close()
    first, second = (tmp_path / "q").read_text().splitlines()
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d 192\.168\.1\.7 udp nas\.home\. A NOERROR 58 B 0\.1 ms \(aa rd; zone home\)", first
    )
    assert re.fullmatch(r"\d\d:\d\d:\d\d ::1 tls a\S+31m\S+\.x\. A dropped 0 B 0\.0 ms", second)
    assert "\x1b" not in second
    assert "\u202e" not in second


def test_lines_for_programs(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    log = log_of(loop, tmp_path / "q", format="json")
    log.query_log.query(RECORD)
    log.query_log.query(HOSTILE)
    log.close()
    first, second = [json.loads(line) for line in (tmp_path / "q").read_text().splitlines()]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first.pop("time"))
    assert first == {
        "type": "query", "client_ip": "192.168.1.7", "transport": "udp", "name": "nas.home.", "qtype": "A",
        "rcode": "NOERROR", "flags": ["aa", "rd"], "sent_bytes": 58, "duration_ms": 0.123, "decided_by": "zone home",
    }  # fmt: skip
    assert second["name"] == HOSTILE.name
    assert "\x1b" not in (tmp_path / "q").read_text()


def test_the_file_follows_the_config_and_rotation(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    log = log_of(loop, tmp_path / "q")
    log.query_log.query(RECORD)
    log.query_log.flush()
    (tmp_path / "q").rename(tmp_path / "q.1")
    log.query_log.query(RECORD)
    log.reopen()
    log.query_log.query(RECORD)
    log.configure(Logging(access_log="off"))
    log.query_log.query(RECORD)
    log.close()
    assert [len((tmp_path / name).read_text().splitlines()) for name in ("q.1", "q")] == [2, 1]
    assert not log.query_log.enabled


def test_a_file_that_cannot_be_opened_is_told_of_by_its_key(
    loop: asyncio.AbstractEventLoop, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "npserver.server")
    log = log_of(loop, tmp_path / "none" / "q")
    log.close()
    (said,) = caplog.messages
    assert said.startswith("cannot open the query log ")
    assert said.endswith("(logging.query_log): No such file or directory")
