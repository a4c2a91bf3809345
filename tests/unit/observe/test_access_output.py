"""Several access logs: what each has, and what it hides."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from npserver.observe.access_log import AccessLog
from npserver.observe.access_output import CompiledLog, Only
from npserver.observe.conditions import compile_condition
from npserver.observe.config import AccessLogSection, Logging
from tests.unit.observe.test_access_log import logged, loop, request

__all__ = ["loop"]  # a fixture


def test_each_has_its_format(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    log = AccessLog(Logging(access_log=[str(a), AccessLogSection(to=str(b), format="json")]), loop)
    assert log.enabled
    logged(log, request("/x"))
    log.close()
    assert "GET example.com:8080/x 200" in a.read_text()
    assert json.loads(b.read_text())["target"] == "/x"


def test_none_is_off(loop: asyncio.AbstractEventLoop) -> None:
    log = AccessLog(Logging(access_log=[]), loop)
    assert not log.enabled
    logged(log, request("/x"))
    log.close()


def test_conditions_choose_sessions_and_queries(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    """Where they are there, and a sample of them."""
    file = tmp_path / "a"
    only = compile_condition("type = session and duration > 1s or type = query and rcode != NOERROR")
    config = Logging(access_log=[AccessLogSection(to=str(file), only="...")], dns_queries=True)
    log = AccessLog(config, loop)
    log.configure(config, compiled=[CompiledLog(only=only)])
    for duration_s in (0.5, 1.5):
        log.session(
            kind="tcp", listener="db", client="192.0.2.7:1", target="tcp://db", received=1, sent=2,
            duration_s=duration_s, reason="",
        )  # fmt: skip
    for rcode in ("NOERROR", "REFUSED"):
        log.query(transport="udp", client="192.0.2.7", name="a.", type="A", rcode=rcode)
    logged(log, request("/a"), status=500)
    log.close()
    session, query = file.read_text().splitlines()
    assert " tcp db -> tcp://db 1 B in, 2 B out, 1.5 s" in session
    assert query.endswith(" dns udp a. A REFUSED")


def test_conditions_choose_requests(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    config = Logging(access_log=[str(a), AccessLogSection(to=str(b), only="status >= 400")], dns_queries=True)
    log = AccessLog(config, loop)
    logged(log, request("/early"), status=500)  # the conditions are not compiled yet
    log.configure(config, compiled=[CompiledLog(), CompiledLog(only=Only(request=lambda record: record.status >= 400))])
    for status in (200, 404):
        logged(log, request("/x"), status=status)
    log.query(transport="udp", client="10.0.0.9", name="a.", type="A", rcode="NOERROR")
    log.session(
        kind="tcp", listener="db", client="10.0.0.9:1", target="tcp://db:3306", received=5, sent=6, duration_s=1.5,
        reason="idle",
    )  # fmt: skip
    log.close()
    assert len(a.read_text().splitlines()) == 5
    (line,) = b.read_text().splitlines()
    assert "/x 404" in line


def test_a_sample_may_keep_errors(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    all_lines, some, none, errors = [tmp_path / name for name in "asne"]
    outputs = [
        AccessLogSection(to=str(all_lines), sample="100%"),
        AccessLogSection(to=str(some), sample="20%"),
        AccessLogSection(to=str(none), sample="0%"),
        AccessLogSection(to=str(errors), sample="0%", keep_errors=True),
    ]
    log = AccessLog(Logging(access_log=list(outputs)), loop)
    for number in range(3000):
        logged(log, request("/x"), status=404 if number % 10 == 0 else 200)
    log.close()
    assert len(all_lines.read_text().splitlines()) == 3000
    assert 400 < len(some.read_text().splitlines()) < 800
    assert none.read_text() == ""
    assert len(errors.read_text().splitlines()) == 300


@pytest.mark.parametrize("form", ["pretty", "json", "combined"])
def test_queries_and_addresses_are_hidden(loop: asyncio.AbstractEventLoop, tmp_path: Path, form: Any) -> None:
    open_, hidden = tmp_path / "open", tmp_path / "hidden"
    outputs = [AccessLogSection(to=str(open_), hide=[]), str(hidden)]
    log = AccessLog(Logging(access_log=outputs, format=form, hide=["query", "client_ip"], dns_queries=True), loop)
    logged(log, request("/a?token=1", referer="http://r/x?token=2"))
    log.query(transport="udp", client="203.0.113.9", name="a.", type="A", rcode="NOERROR")
    log.session(
        kind="tcp", listener="db", client="203.0.113.9:17", target="tcp://db:3306", received=5, sent=6,
        duration_s=1.5, reason="idle",
    )  # fmt: skip
    log.close()
    assert "token=1" in open_.read_text()
    assert "203.0.113.9" in open_.read_text()
    text = hidden.read_text()
    assert len(text.splitlines()) == (1 if form == "combined" else 3)
    assert "token" not in text
    assert "203.0.113.9" not in text
    assert text.count("203.0.113.0") == len(text.splitlines())


def test_one_that_stays_keeps_its_file_at_a_reload(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    log = AccessLog(Logging(access_log=[str(a), str(b)]), loop)
    logged(log, request("/one"))
    a.rename(tmp_path / "moved")
    log.configure(Logging(access_log=[str(a)], format="json"))
    logged(log, request("/two"))
    log.close()
    assert not a.exists()
    assert len((tmp_path / "moved").read_text().splitlines()) == 2
    assert "/one" in b.read_text()
    assert "/two" not in b.read_text()


def test_all_have_the_id_of_a_request(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    log = AccessLog(Logging(access_log=[str(a), str(b)], format="json", request_ids=True), loop)
    logged(log, request("/one"))
    log.close()
    first, second = [json.loads(one.read_text())["request_id"] for one in (a, b)]
    assert first == second
    assert len(first) == 32
