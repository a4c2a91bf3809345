"""Requests to FastCGI servers: what a script is told, how bodies are sent, what goes wrong and what is tried again.

Covers `web.handlers.fastcgi.handler`, `web.handlers.fastcgi.call` and `web.handlers.fastcgi.gateway`.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from npserver.upstream.fastcgi import FastcgiClient
from tests.protocols.proxying import Connection, Origin, get, post, silent, until
from tests.protocols.scripting import ScriptStage
from tests.stage.fastcgi import (
    STDERR,
    STDIN,
    STDOUT,
    Asked,
    end,
    once,
    page,
    read_params,
    read_record,
    read_request,
    record,
    serving,
)
from tests.stage.ports import free_port

CHUNKED = (
    b"POST /a.php HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("index.php", "a.php", "f.txt"):
        (tmp_path / name).write_text(f"source of {name}")
    return tmp_path


def gateways(stage: ScriptStage) -> list[FastcgiClient]:
    """The connections to FastCGI servers that are open."""
    return [one for one in stage.context.sweeper.watched if isinstance(one, FastcgiClient)]


class TestScripts:
    async def test_a_script_is_run_and_a_file_is_sent(self, root: Path) -> None:
        asked: list[Asked] = []
        async with Origin(serving(page(b"made"), asked=asked)) as origin, ScriptStage(origin, root) as stage:
            client = await stage.client()
            assert (await client.ask(get("/a.php/info?x=1")))[::2] == (200, b"made")
            for _ in range(3):
                assert (await client.ask(get("/f.txt")))[::2] == (200, b"source of f.txt")
            assert (await client.ask(get("/made/up")))[::2] == (200, b"made")
            assert stage.loads == [0]
        assert [(one["SCRIPT_NAME"], one["PATH_INFO"]) for one in asked] == [("/a.php", "/info"), ("/index.php", "")]
        assert asked[0]["QUERY_STRING"] == "x=1"
        assert asked[0]["SCRIPT_FILENAME"] == f"{root}/a.php"
        assert not asked[0].is_kept

    async def test_paths_that_lead_to_no_script_are_refused(self, root: Path) -> None:
        (root / "x.jpg").write_text("<?php evil();")
        async with Origin(serving(page(b"run"))) as origin, ScriptStage(origin, root) as stage:
            client = await stage.client()
            for path in ("/x.jpg/y.php", "/none.php", "/x.jpg/a.php/b"):
                assert (await client.ask(get(path)))[0] == 404, path
            assert origin.connections == []

    async def test_the_status_and_the_fields_are_the_scripts(self, root: Path) -> None:
        fields = (
            b"Status: 404 Not Found\r\nSet-Cookie: a=b; Path=/\r\nLocation: http://site.test/x\r\nX-Powered-By: PHP\r\n"
        )
        async with Origin(serving(page(b"no", fields))) as origin, ScriptStage(origin, root) as stage:
            status, head, body = await stage.ask(get())
        assert (status, body) == (404, b"no")
        for line in fields.split(b"\r\n")[1:]:
            assert line in head

    async def test_a_head_request_gets_the_fields_alone(self, root: Path) -> None:
        async with Origin(serving(page(b"body"))) as origin, ScriptStage(origin, root) as stage:
            client = await stage.client()
            for _ in range(2):
                await client.send(b"HEAD / HTTP/1.1\r\nHost: site.test\r\n\r\n")
                assert (await client.answer(is_head=True))[0] == 200

    @pytest.mark.parametrize("status", [204, 304])
    async def test_statuses_without_a_body_have_none(self, root: Path, status: int) -> None:
        answer = page(b"ignored", b"Status: %d\r\nContent-Type: a/b\r\n" % status)
        async with Origin(serving(answer)) as origin, ScriptStage(origin, root) as stage:
            client = await stage.client()
            for _ in range(2):
                assert (await client.ask(get()))[::2] == (status, b"")

    async def test_output_is_passed_on_as_it_comes(self, root: Path) -> None:
        seen = asyncio.Event()

        async def act(connection: Connection, asked: Asked) -> None:
            await connection.send(record(STDOUT, b"Content-Type: a/b\r\n\r\nfirst"))
            await seen.wait()
            await connection.send(record(STDOUT, b"second") + end())

        async with Origin(once(act)) as origin, ScriptStage(origin, root) as stage:
            client = await stage.client()
            await client.send(get())
            await client.head()
            assert (await client.reader.readline(), await client.reader.readline()) == (b"5\r\n", b"first\r\n")
            seen.set()
            assert (await client.reader.readuntil(b"0\r\n\r\n")) == b"6\r\nsecond\r\n0\r\n\r\n"

    async def test_a_response_of_known_length_does_not_wait_for_the_script(self, root: Path) -> None:
        """The script works on after its answer; its connection is not used for others until it has ended."""
        may_end = asyncio.Event()

        async def script(connection: Connection) -> None:
            await read_request(connection)
            await connection.send(record(STDOUT, b"Content-Length: 2\r\n\r\nok"))
            if connection.number == 0:
                await may_end.wait()
                await connection.send(record(STDERR, b"late") + end())
            else:
                await connection.send(end())
            await silent(connection)

        async with Origin(script) as origin, ScriptStage(origin, root, keepalive=True) as stage:
            client = await stage.client()
            assert (await client.ask(get()))[::2] == (200, b"ok")
            assert stage.loads == [0]
            assert (await client.ask(get()))[::2] == (200, b"ok")
            assert len(origin.connections) == 2
            may_end.set()
            await until(lambda: len(stage.proxy.upstream.targets[0].pool.idle) == 2)

    async def test_a_slow_client_slows_the_script_down(self, root: Path) -> None:
        async def act(connection: Connection, asked: Asked) -> None:
            await connection.send(record(STDOUT, b"Content-Type: a/b\r\n\r\n"))
            for _ in range(400):
                await connection.send(record(STDOUT, b"x" * 65_000))
            await connection.send(end())

        async with Origin(once(act)) as origin, ScriptStage(origin, root) as stage:
            client = await stage.client()
            await client.send(get())
            await client.head()
            await until(lambda: [one for one in gateways(stage) if not one.transport.is_reading()])
            size = 0
            while size < 26_000_000:
                size += len(await client.reader.read(1 << 20))

    async def test_output_is_buffered_for_slow_clients_if_the_rule_says_so(self, root: Path) -> None:
        async def act(connection: Connection, asked: Asked) -> None:
            await connection.send(record(STDOUT, b"Content-Type: a/b\r\n\r\n"))
            for _ in range(200):
                await connection.send(record(STDOUT, b"x" * 65_000))
            await connection.send(end())

        async with Origin(once(act)) as origin, ScriptStage(origin, root, response_buffering=True) as stage:
            client = await stage.client()
            await client.send(get())
            await until(lambda: origin.connections and stage.loads == [0])  # the script is done
            assert len((await client.answer())[2]) == 13_000_000


class TestBodies:
    async def test_a_large_body_is_sent_as_it_comes(self, root: Path) -> None:
        parts = asyncio.Queue[bytes]()

        async def script(connection: Connection) -> None:
            asked = await read_params(connection)
            parts.put_nowait(asked["CONTENT_LENGTH"].encode())
            while content := (await read_record(connection))[1]:
                parts.put_nowait(content)
            await connection.send(page())

        body = b"x" * 70_000
        async with Origin(script) as origin, ScriptStage(origin, root) as stage:
            client = await stage.client()
            await client.send(post(body)[:-10])
            assert await parts.get() == b"70000"
            size = 0
            while size < 69_990:
                size += len(await parts.get())
            await client.send(body[-10:])
            assert await parts.get() == body[-10:]
            assert (await client.answer())[::2] == (200, b"ok")

    async def test_a_small_body_is_received_first(self, root: Path) -> None:
        """A script would be run without it if the client went away."""
        asked: list[Asked] = []
        async with Origin(serving(page(), asked=asked)) as origin, ScriptStage(origin, root) as stage:
            gone, client = await stage.client(), await stage.client()
            await gone.send(post(b"body")[:-1])
            await until(lambda: [one for one in stage.context.connections if one.exchange is not None])
            gone.close()
            await until(lambda: len(stage.context.connections) == 1)
            await client.send(post(b"body")[:-1])
            await until(lambda: [one for one in stage.context.connections if one.exchange is not None])
            assert origin.connections == []
            await client.send(b"y")
            assert (await client.answer())[::2] == (200, b"ok")
        assert [one.body for one in asked] == [b"body"]

    @pytest.mark.parametrize("rule", [{}, {"request_buffering": {"memory": 1}}])
    async def test_a_body_without_a_length_is_received_first(self, root: Path, rule: dict[str, object]) -> None:
        asked: list[Asked] = []
        async with Origin(serving(page(), asked=asked)) as origin, ScriptStage(origin, root, **rule) as stage:
            client = await stage.client()
            await client.send(CHUNKED[:-5])
            assert origin.connections == []
            await client.send(CHUNKED[-5:])
            assert (await client.answer())[0] == 200
        assert (asked[0]["CONTENT_LENGTH"], asked[0].body) == ("11", b"hello world")

    async def test_a_script_that_is_removed_while_the_body_is_received_is_not_run(
        self, root: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        config = {"file_cache": {"check_interval": 0}}
        async with Origin(serving(page())) as origin, ScriptStage(origin, root, config=config) as stage:
            client = await stage.client()
            await client.send(CHUNKED[:-5])
            await until(lambda: [one for one in stage.context.connections if one.exchange is not None])
            (root / "a.php").unlink()
            await client.send(CHUNKED[-5:])
            with caplog.at_level(logging.DEBUG):
                assert (await client.answer())[0] == 404
            assert "the script is no longer there (dispatch[0].root)" in caplog.text
            assert origin.connections == []

    async def test_a_body_that_is_announced_is_asked_for(self, root: Path) -> None:
        asked: list[Asked] = []
        async with Origin(serving(page(), asked=asked)) as origin, ScriptStage(origin, root) as stage:
            client = await stage.client()
            await client.send(post(b"body", "Expect: 100-continue\r\n")[:-4])
            assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
            await client.send(b"body")
            assert (await client.answer())[0] == 200
        assert asked[0].body == b"body"
        assert b"HTTP_EXPECT" not in asked[0].params

    async def test_a_slow_script_slows_the_client_down(self, root: Path) -> None:
        may_read = asyncio.Event()
        body = bytes(15 << 20)
        sizes: list[int] = []

        async def script(connection: Connection) -> None:
            await read_params(connection)
            await may_read.wait()
            while content := (await read_record(connection))[1]:
                sizes.append(len(content))
            await connection.send(page())

        async with Origin(script) as origin, ScriptStage(origin, root) as stage:
            client = await stage.client()
            sending = asyncio.create_task(client.send(post(body)))
            await until(lambda: [one for one in stage.context.connections if not one.transport.is_reading()])
            assert not sending.done()
            may_read.set()
            await sending
            assert (await client.answer())[0] == 200
        assert sum(sizes) == len(body)

    async def test_an_answer_before_the_end_of_the_body_ends_the_connection(self, root: Path) -> None:
        async def script(connection: Connection) -> None:
            await read_params(connection)
            await connection.send(page(b"enough"))
            await silent(connection)

        async with Origin(script) as origin, ScriptStage(origin, root, keepalive=True) as stage:
            client = await stage.client()
            await client.send(post(b"x" * 70_000)[:-50])
            assert (await client.answer())[::2] == (200, b"enough")
            assert stage.proxy.upstream.targets[0].pool.idle == []
            assert stage.loads == [0]


class TestConnections:
    async def test_a_connection_is_kept_if_the_rule_says_so(self, root: Path) -> None:
        """A request that cannot be repeated gets a new one: the server may close a kept one at any time."""
        asked: list[Asked] = []
        async with Origin(serving(page(), asked=asked)) as origin, ScriptStage(origin, root, keepalive=True) as stage:
            client = await stage.client()
            for data in (get(), get(), post(b"body"), get("/a.php")):
                assert (await client.ask(data))[0] == 200
            assert len(origin.connections) == 2
            assert len(stage.proxy.upstream.targets[0].pool.idle) == 1  # the other does not keep a process busy
        assert [one.is_kept for one in asked] == [True] * 4
        assert [one.body for one in asked] == [b"", b"", b"body", b""]

    async def test_a_connection_is_kept_for_a_while_only(self, root: Path) -> None:
        """Else a worker could keep all processes of PHP-FPM from the others."""
        async with Origin(serving(page())) as origin, ScriptStage(origin, root, keepalive=True) as stage:
            pool = stage.proxy.upstream.targets[0].pool
            assert (await stage.ask(get()))[0] == 200
            (kept,) = pool.idle
            assert kept.deadline == kept._kept_until <= stage.context.loop.time() + 1  # when it is not used
            kept._kept_until -= 60  # when it is
            assert (await stage.ask(get()))[0] == 200
            assert pool.idle == []
            assert (await stage.ask(get()))[0] == 200
            assert len(origin.connections) == 2

    async def test_a_request_is_sent_again_if_the_kept_connection_was_closed(self, root: Path) -> None:
        async def script(connection: Connection) -> None:
            await read_request(connection)
            await connection.send(page())
            if connection.number == 0:
                await read_request(connection)  # and close without an answer

        async with Origin(script) as origin, ScriptStage(origin, root, keepalive=True) as stage:
            client = await stage.client()
            assert (await client.ask(get()))[0] == 200
            assert (await client.ask(get()))[0] == 200
            assert len(origin.connections) == 2

    async def test_an_answer_without_a_request_closes_the_connection(self, root: Path) -> None:
        async def script(connection: Connection) -> None:
            await read_request(connection)
            await connection.send(page())
            await connection.send(record(STDOUT, b"unasked"))
            await silent(connection)

        async with Origin(script) as origin, ScriptStage(origin, root, keepalive=True) as stage:
            assert (await stage.ask(get()))[0] == 200
            await until(lambda: not stage.proxy.upstream.targets[0].pool.idle)

    async def test_requests_are_balanced_and_tried_elsewhere(self, root: Path) -> None:
        config = {
            "upstreams": {"php": {"targets": [f"tcp://127.0.0.1:{free_port()}", "unix:///x", "tcp://127.0.0.1:1"]}}
        }
        async with Origin(serving(page())) as origin:
            config["upstreams"]["php"]["targets"][1] = f"tcp://127.0.0.1:{origin.port}"
            async with ScriptStage("upstream://php", root, config=config) as stage:
                for _ in range(4):
                    assert (await stage.ask(get()))[0] == 200

    async def test_a_request_waits_for_a_server_that_is_restarted(self, root: Path) -> None:
        port = free_port()
        config = {"upstreams": {"php": {"targets": [f"tcp://127.0.0.1:{port}"], "wait": "10s"}}}
        origin = Origin(serving(page(b"back")))
        async with ScriptStage("upstream://php", root, config=config) as stage:
            client = await stage.client()
            await client.send(get())
            await until(lambda: stage.proxy.upstream.targets[0].state.down_until)
            await origin.open(port)
            assert (await client.answer())[::2] == (200, b"back")
        await origin.close()

    async def test_least_time_measures_scripts(self, root: Path) -> None:
        async with Origin(serving(page())) as one, Origin(serving(page())) as other:
            targets = [f"tcp://127.0.0.1:{origin.port}" for origin in (one, other)]
            config = {"upstreams": {"php": {"targets": targets, "balance": "least-time"}}}
            async with ScriptStage("upstream://php", root, config=config) as stage:
                for _ in range(4):
                    assert (await stage.ask(get()))[0] == 200
                assert all(target.response_time_s for target in stage.proxy.upstream.targets)

    async def test_a_sticky_cookie_keeps_a_client_with_its_server(self, root: Path) -> None:
        async with Origin(serving(page(b"one"))) as one, Origin(serving(page(b"two"))) as two:
            targets = [f"tcp://127.0.0.1:{origin.port}" for origin in (one, two)]
            config = {"upstreams": {"php": {"targets": targets, "sticky": {"cookie": "to"}}}}
            async with ScriptStage("upstream://php", root, config=config) as stage:
                _, head, body = await stage.ask(get())
                cookie = head.partition(b"Set-Cookie: ")[2].partition(b";")[0].decode()
                for _ in range(3):
                    assert (await stage.ask(get(fields=f"Cookie: {cookie}\r\n")))[2] == body

    async def test_a_client_that_leaves_ends_the_request(self, root: Path) -> None:
        asked, gone = asyncio.Event(), asyncio.Event()

        async def act(connection: Connection, _asked: Asked) -> None:
            asked.set()
            assert await connection.read() == b""
            gone.set()

        async with Origin(once(act)) as origin, ScriptStage(origin, root) as stage:
            client = await stage.client()
            await client.send(get())
            await asyncio.wait_for(asked.wait(), 30)
            assert stage.loads == [1]
            client.reset()
            await asyncio.wait_for(gone.wait(), 30)
            assert stage.loads == [0]


def test_the_codec_of_the_tests_knows_its_own_records() -> None:
    """Else the tests above could agree with anything."""
    assert record(STDIN, b"ab", padding=1) == b"\x01\x05\x00\x01\x00\x02\x01\x00ab\xff"
