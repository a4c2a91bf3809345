"""FastCGI servers that misbehave, and the error output of scripts: what the client gets, what is logged."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from tests.protocols.proxying import Connection, Origin, get, post, silent, until
from tests.protocols.scripting import ScriptStage
from tests.stage.fastcgi import STDERR, STDOUT, Asked, end, once, page, record, serving


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("index.php", "a.php", "f.txt"):
        (tmp_path / name).write_text(f"source of {name}")
    return tmp_path


class TestTrouble:
    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            (b"", "connection closed without a response"),
            (end(), "the response is empty"),
            (record(STDOUT, b"Content-Type: a/b\r\n") + end(), "the head of the response is incomplete"),
            (record(STDOUT, b"<html>\r\n\r\n") + end(), "bad field name"),
            (record(STDOUT, b"Content-Type: a/b\r\n\r\nhi", request=2) + end(), "record of request 2"),
            (record(77, b"hi") + end(), "record of type 77"),
            (b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n", "use handler 'proxy'"),
            (end(0, 2), "it is overloaded"),
            (record(STDOUT, b"Content-Length: 5\r\n\r\nhi") + end(), "the response ends 3 bytes before"),
        ],
    )
    async def test_a_faulty_answer_is_a_502(
        self, root: Path, answer: bytes, reason: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with Origin(serving(answer)) as origin, ScriptStage(origin, root) as stage:
            with caplog.at_level(logging.WARNING):
                assert (await stage.ask(get()))[0] == 502
            assert reason in caplog.text
            assert "(dispatch[0].to)" in caplog.text
            assert f"tcp://127.0.0.1:{origin.port}" in caplog.text
            assert stage.loads == [0]

    async def test_a_server_that_closes_within_the_answer_truncates_it(self, root: Path) -> None:
        answer = record(STDOUT, b"Content-Type: a/b\r\n\r\nhalf")

        async def act(connection: Connection, asked: Asked) -> None:
            await connection.send(answer)

        async with Origin(once(act)) as origin, ScriptStage(origin, root) as stage:
            client = await stage.client()
            await client.send(get())
            assert b"200" in await client.head()
            assert not (await client.rest()).endswith(b"0\r\n\r\n")
            assert stage.loads == [0]

    async def test_silence_is_a_504_that_names_the_key(self, root: Path, caplog: pytest.LogCaptureFixture) -> None:
        async with Origin(silent) as origin, ScriptStage(origin, root, timeouts={"response": 7}) as stage:
            client = await stage.client()
            await client.send(get())
            await until(lambda: origin.seen)
            stage.pass_time(6)
            assert stage.loads == [1]
            with caplog.at_level(logging.WARNING):
                stage.pass_time(2)
                assert (await client.answer())[0] == 504
            assert "(dispatch[0].timeouts.response)" in caplog.text

    async def test_error_output_does_not_put_the_timeout_off(self, root: Path) -> None:
        may_write = asyncio.Event()

        async def act(connection: Connection, asked: Asked) -> None:
            await may_write.wait()
            await connection.send(record(STDERR, b"working"))
            await silent(connection)

        async with Origin(once(act)) as origin, ScriptStage(origin, root, timeouts={"response": 7}) as stage:
            client = await stage.client()
            await client.send(get())
            await until(lambda: origin.seen)
            stage.pass_time(6)
            may_write.set()
            counter = stage.context.row.slot("http.fastcgi.error_bytes")
            await until(lambda: stage.context.row.slots[counter])
            stage.pass_time(2)
            assert (await client.answer())[0] == 504

    async def test_a_request_that_was_not_answered_is_sent_once_if_it_is_not_idempotent(self, root: Path) -> None:
        async with Origin(serving(b"")) as one, Origin(serving(b"")) as two:
            targets = [f"tcp://127.0.0.1:{origin.port}" for origin in (one, two)]
            async with ScriptStage("upstream://p", root, config={"upstreams": {"p": {"targets": targets}}}) as stage:
                assert (await stage.ask(post(b"x")))[0] == 502
                assert len(one.connections) + len(two.connections) == 1
                assert (await stage.ask(get()))[0] in (502, 503)
                assert len(one.connections) + len(two.connections) == 3

    async def test_a_request_that_was_not_processed_is_sent_again_whatever_it_is(self, root: Path) -> None:
        async with Origin(serving(end(0, 2))) as busy, Origin(serving(page())) as other:
            targets = [f"tcp://127.0.0.1:{origin.port}" for origin in (busy, other)]
            async with ScriptStage("upstream://p", root, config={"upstreams": {"p": {"targets": targets}}}) as stage:
                for _ in range(4):
                    assert (await stage.ask(post(b"x")))[0] == 200
                assert len(busy.connections) >= 1
                assert len(other.connections) == 4

    @pytest.mark.parametrize("answer", [record(3, bytes(4)), end(0, 9)], ids=["short", "status"])
    async def test_a_request_whose_end_is_garbled_is_not_sent_again(self, root: Path, answer: bytes) -> None:
        async with Origin(serving(answer)) as one, Origin(serving(answer)) as two:
            targets = [f"tcp://127.0.0.1:{origin.port}" for origin in (one, two)]
            async with ScriptStage("upstream://p", root, config={"upstreams": {"p": {"targets": targets}}}) as stage:
                assert (await stage.ask(get()))[0] == 502
                assert len(one.connections) + len(two.connections) == 1


class TestErrorOutput:
    async def test_it_is_logged_with_the_request_and_the_key(
        self, root: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        errors = b"PHP message: PHP Warning:  \x1b[31mx\nStack trace:\n#0 {main}\n"
        answer = record(STDERR, errors) + page()
        async with Origin(serving(answer)) as origin, ScriptStage(origin, root) as stage:
            with caplog.at_level(logging.WARNING):
                assert (await stage.ask(get("/a.php")))[0] == 200
        (line,) = [one.getMessage() for one in caplog.records]
        assert line == (
            f"error output of GET /a.php from tcp://127.0.0.1:{origin.port}: "
            r"PHP message: PHP Warning:  \x1b[31mx\nStack trace:\n#0 {main} (dispatch[0].max_error_output)"
        )

    async def test_a_script_that_php_does_not_find_is_told_with_the_directory(
        self, root: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        answer = record(STDERR, b"Primary script unknown") + page()
        async with Origin(serving(answer)) as origin, ScriptStage(origin, root, script_root="/srv/elsewhere") as stage:
            assert (await stage.ask(get("/a.php")))[0] == 200
        (line,) = [one.getMessage() for one in caplog.records]
        assert line.endswith(
            ": Primary script unknown: it finds no such file below '/srv/elsewhere', or may not read it "
            "(dispatch[0].script_root)"
        )

    @pytest.mark.parametrize(("limit", "lines"), [(0, 0), (100, 1), (150, 2)])
    async def test_a_flood_of_it_is_cut(
        self, root: Path, limit: int, lines: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def act(connection: Connection, asked: Asked) -> None:
            counter = stage.context.row.slot("http.fastcgi.error_bytes")
            for number in range(20):
                await connection.send(record(STDERR, b"e" * 100))
                await until(lambda size=100 * (number + 1): stage.context.row.slots[counter] == size)
            await connection.send(page())

        async with Origin(once(act)) as origin:
            stage = ScriptStage(origin, root, max_error_output=limit)
            async with stage:
                with caplog.at_level(logging.WARNING):
                    assert (await stage.ask(get()))[0] == 200
        assert len(caplog.records) == lines
        assert ("".join([one.getMessage() for one in caplog.records])).count("eeeee") == limit // 5
        assert ("e ... and more (dispatch[0].max_error_output)" in caplog.text) == (limit == 150)
