"""The access log: its formats, its file, and what happens when it cannot be written.

Covers `observe.line_log`, `observe.log_file` and `observe.log_formats`.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from npserver.http.request import NO_BODY, HeaderBlock, HeadValues, Request
from npserver.observe import line_log, log_file
from npserver.observe.access_log import AccessLog
from npserver.observe.config import Logging
from npserver.observe.log_file import LogFile
from npserver.observe.log_formats import HeadParts, size
from npserver.observe.request_record import RequestRecord

VALUES = HeadValues(True, "example.com", "example.com:8080", NO_BODY, 0, True, True, False, b"", None)
BLOCK = HeaderBlock([], (), VALUES)


def request(target: str = "/a?b", **fields: str) -> Request:
    known = {name.replace("_", "-").encode(): value.encode("latin-1") for name, value in fields.items()}
    one = Request("GET", target, "/a", "b", True, 1, "example.com", "example.com:8080", BLOCK, b"")
    one.known_fields = known
    return one


def record(one: Request, **changes: Any) -> RequestRecord:
    entry: dict[str, Any] = {
        "client_ip": "203.0.113.9", "request": one, "scheme": "http", "status": 200, "received": 0, "sent": 1234,
        "duration_s": 0.0123, "upstream": "", "request_id": "", "user": "",
    }  # fmt: skip
    return RequestRecord(**(entry | changes))


def logged(log: AccessLog, one: Request, **changes: Any) -> None:
    log.request(record(one, **changes))


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


def lines(log: AccessLog, file: Path) -> list[str]:
    log.flush()
    return file.read_text().splitlines()


def test_only_short_heads_are_remembered() -> None:
    """The number of those that are is bounded, and so must be the size of each."""
    made: list[str] = []
    parts = HeadParts(lambda one: made.append(one.target) or ("", ""))
    for one in (request("/a"), request(f"/{'a' * 5000}")):
        for _ in range(2):
            parts.of(one)
    assert [len(target) for target in made] == [2, 5001, 5001]


class TestForms:
    def test_the_pretty_form_is_for_people(self, loop: asyncio.AbstractEventLoop, file: Path) -> None:
        log = AccessLog(Logging(access_log=str(file)), loop)
        logged(log, request(), received=10, upstream="http://10.0.0.1:80", user="ann")
        (line,) = lines(log, file)
        log.close()
        assert re.fullmatch(
            r"\d\d:\d\d:\d\d 203\.0\.113\.9 ann GET example.com:8080/a\?b 200 10 B in, 1\.2 KB 12\.3 ms "
            r"-> http://10.0.0.1:80",
            line,
        )

    def test_the_combined_form_is_apaches(self, loop: asyncio.AbstractEventLoop, file: Path) -> None:
        log = AccessLog(Logging(format="combined", access_log=str(file)), loop)
        logged(log, request(referer="http://r/", user_agent='A "quoted" \\ agent'), user="a b")
        logged(log, request(), status=304, sent=0)
        first, second = lines(log, file)
        log.close()
        time = r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]"
        assert re.fullmatch(
            rf'203\.0\.113\.9 - a\\x20b {time} "GET /a\?b HTTP/1\.1" 200 1234 "http://r/" '
            r'"A \\"quoted\\" \\\\ agent"',
            first,
        )
        assert second.endswith('"GET /a?b HTTP/1.1" 304 - "-" "-"')

    def test_the_json_form_has_all_fields(self, loop: asyncio.AbstractEventLoop, file: Path) -> None:
        log = AccessLog(Logging(format="json", access_log=str(file)), loop)
        logged(log, request(user_agent="\x9b caf\xe9"), request_id="abc", scheme="https")
        (line,) = lines(log, file)
        log.close()
        assert line.isascii()
        entry = json.loads(line)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry.pop("time"))
        assert entry == {
            "type": "request", "client_ip": "203.0.113.9", "method": "GET", "scheme": "https",
            "host": "example.com:8080", "target": "/a?b", "protocol": "HTTP/1.1", "status": 200, "received_bytes": 0,
            "sent_bytes": 1234, "duration_ms": 12.3, "upstream": "", "request_id": "abc", "user": "", "rule": "",
            "referer": "", "user_agent": "\x9b caf\xe9",
        }  # fmt: skip

    @pytest.mark.parametrize(("form", "count"), [("pretty", 2), ("json", 2), ("combined", 0)])
    def test_sessions_and_queries_have_their_lines(
        self, loop: asyncio.AbstractEventLoop, file: Path, form: Any, count: int
    ) -> None:
        log = AccessLog(Logging(format=form, access_log=str(file), dns_queries=True), loop)
        log.session(
            kind="tcp", listener="db", client="10.0.0.9", target="tcp://db:3306", received=5, sent=6, duration_s=1.5,
            reason="idle",
        )  # fmt: skip
        log.query(transport="udp", client="10.0.0.9", name="a\nb.", type="A", rcode="NOERROR")
        found = lines(log, file)
        log.close()
        assert len(found) == count

    @pytest.mark.parametrize(
        ("client", "ip", "port"),
        [
            ("192.0.2.7:4711", "192.0.2.7", 4711),
            ("[2001:db8::7]:4711", "2001:db8::7", 4711),
            ("/run/app:80", "/run/app:80", 0),
            ("unix", "unix", 0),
        ],
    )
    def test_json_entries_of_all_types_have_one_name_for_the_client(
        self, loop: asyncio.AbstractEventLoop, file: Path, client: str, ip: str, port: int
    ) -> None:
        log = AccessLog(Logging(format="json", access_log=str(file), dns_queries=True), loop)
        log.session(
            kind="tcp", listener="db", client=client, target="tcp://db:3306", received=5, sent=6, duration_s=1.5,
            reason="idle",
        )  # fmt: skip
        log.query(transport="udp", client="192.0.2.7", name="a.", type="A", rcode="NOERROR")
        logged(log, request("/"))
        session, query, http = map(json.loads, lines(log, file))
        log.close()
        assert (session["client_ip"], session["client_port"]) == (ip, port)
        assert query["client_ip"] == "192.0.2.7"
        assert http["client_ip"] == "203.0.113.9"
        assert not any("client" in entry for entry in (session, query, http))

    @pytest.mark.parametrize("form", ["pretty", "json", "combined"])
    def test_control_characters_are_escaped(self, loop: asyncio.AbstractEventLoop, file: Path, form: Any) -> None:
        """FIELD: log injection by CR LF and ESC (CVE-2020-7694)."""
        hostile = "/\r\n203.0.113.1 - - \x1b]0;x\x07\x9b\u2028"
        log = AccessLog(Logging(format=form, access_log=str(file)), loop)
        logged(log, request(hostile, user_agent="\x1b[31m\n"), user="x\r\ny")
        text = "\n".join(lines(log, file))
        log.close()
        assert text.isprintable()

    @pytest.mark.parametrize(
        ("count", "text"),
        [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KB"),
            (1 << 20, "1.0 MB"),
            (3 << 30, "3.0 GB"),
            (5 << 40, "5120.0 GB"),
        ],
    )
    def test_sizes_are_written_for_people(self, count: int, text: str) -> None:
        assert size(count) == text


class TestWriting:
    def test_lines_are_gathered_until_the_timer(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(line_log, "FLUSH_S", 0.01)

        async def scene() -> None:
            log = AccessLog(Logging(access_log=str(file)), asyncio.get_running_loop())
            logged(log, request())
            assert file.read_text() == ""
            async with asyncio.timeout(20):
                while not file.read_text():
                    await asyncio.sleep(0)
            log.close()

        asyncio.run(scene())

    def test_many_lines_do_not_wait(self, loop: asyncio.AbstractEventLoop, file: Path) -> None:
        log = AccessLog(Logging(access_log=str(file)), loop)
        for _ in range(line_log.MAX_LINES):
            logged(log, request())
        assert len(file.read_text().splitlines()) == line_log.MAX_LINES
        log.close()

    def test_off_opens_and_writes_nothing(self, loop: asyncio.AbstractEventLoop) -> None:
        log = AccessLog(Logging(access_log="off", dns_queries=True), loop)
        assert not log.enabled
        assert not log.queries
        logged(log, request())
        log.close()

    def test_a_rotated_file_is_opened_again(self, loop: asyncio.AbstractEventLoop, file: Path, tmp_path: Path) -> None:
        log = AccessLog(Logging(access_log=str(file)), loop)
        logged(log, request("/before"))
        file.rename(tmp_path / "access.log.1")
        log.reopen()
        logged(log, request("/after"))
        (line,) = lines(log, file)
        log.close()
        assert "/after" in line
        assert "/before" in (tmp_path / "access.log.1").read_text()

    def test_new_settings_are_taken_over(self, loop: asyncio.AbstractEventLoop, file: Path, tmp_path: Path) -> None:
        log = AccessLog(Logging(access_log="access.log"), loop, str(tmp_path))
        logged(log, request("/one"))
        log.configure(Logging(access_log="off"))
        assert not log.enabled
        log.configure(Logging(access_log=str(file), format="json"))
        logged(log, request("/two"))
        first, second = lines(log, file)
        log.close()
        assert "/one" in first
        assert json.loads(second)["target"] == "/two"

    def test_a_file_that_cannot_be_opened_is_said(
        self, loop: asyncio.AbstractEventLoop, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        log = AccessLog(Logging(access_log=str(tmp_path / "missing" / "a.log")), loop)
        logged(log, request())
        log.close()
        assert "logging.access_log" in caplog.text
        assert "No such file" in caplog.text


class TestTrouble:
    def test_disk_full_drops_counts_and_says_so_once(
        self, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        log = LogFile()
        log.open(str(file))
        real = os.write

        def full(descriptor: int, data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        with caplog.at_level(logging.WARNING, "npserver.server"):
            monkeypatch.setattr(os, "write", full)
            log.write(b"one\ntwo\n")
            log.write(b"three\n")
            assert log.dropped == 3
            monkeypatch.setattr(os, "write", real)
            log.write(b"four\n")
        log.close()
        assert file.read_bytes() == b"four\n"
        assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
        assert "3 lines were dropped" in caplog.text

    def test_a_line_cut_by_a_full_disk_is_ended(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        log = LogFile()
        log.open(str(file))
        real = os.write
        answers = iter([3])

        def nearly_full(descriptor: int, data: bytes) -> int:
            for length in answers:
                return real(descriptor, data[:length])
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "write", nearly_full)
        log.write(b"abcdef\n")
        monkeypatch.setattr(os, "write", real)
        log.write(b"next\n")
        log.close()
        assert file.read_bytes() == b"abc\nnext\n"

    def test_a_pipe_that_nobody_reads_costs_no_wait_and_bounded_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(log_file, "MAX_WAITING", 10_000)
        reader, writer = os.pipe()
        monkeypatch.setitem(log_file._STANDARD, "stdout", writer)
        log = LogFile()
        log.open("stdout")
        line = b"x" * 99 + b"\n"
        for _ in range(200):
            log.write(line * 10)
        assert log.is_behind
        assert log.dropped > 0
        received = b""
        while len(received) < (2000 - log.dropped) * 100:
            received += os.read(reader, 65536)
            log.write(b"")
        assert set(received.split(b"\n")) == {line[:-1], b""}
        os.close(reader)
        log.write(line)
        assert log.dropped > 0
        log.close()
        os.close(writer)

    def test_a_closed_stdout_is_told_once(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.close(descriptor)
        monkeypatch.setitem(log_file._STANDARD, "stdout", descriptor)
        log = LogFile()
        log.open("stdout")
        log.write(b"a\n")
        log.close()
        assert log.dropped == 1
        assert "logging.access_log" in caplog.text
