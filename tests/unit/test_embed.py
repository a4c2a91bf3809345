"""npserver inside another program's event loop."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import npserver
from npserver.errors import ConfigError, StartError
from tests.stage.program import ROOT
from tests.stage.serving import forgiving

HELLO: dict[str, Any] = {
    "listen": [{"name": "web", "uri": "http://127.0.0.1:0"}],
    "dispatch": [{"handler": "respond", "body": "hello"}],
}


async def get(url: str) -> bytes:
    match = re.fullmatch(r"http://(?:\[([^]]+)\]|([^:]+)):(\d+)", url)
    assert match is not None
    reader, writer = await asyncio.open_connection(match[1] or match[2], int(match[3]))
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    data = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    return data.rpartition(b"\r\n\r\n")[2]


async def test_serves_while_the_context_lasts() -> None:
    async with npserver.serve(HELLO) as server:
        assert await get(server.url()) == b"hello"
        assert server.url("web") == server.url()
        assert server.addresses["web"].port > 0
        url = server.url()
    with pytest.raises(ConnectionRefusedError):
        await get(url)


async def test_wildcard_url_is_a_loopback_one() -> None:
    async with npserver.serve({**HELLO, "listen": ["http://:0"]}) as server:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", server.url())
        assert await get(server.url()) == b"hello"


async def test_several_servers_in_one_loop() -> None:
    async with npserver.serve(HELLO) as one, npserver.serve(HELLO) as other:
        assert one.url() != other.url()
        assert await get(one.url()) == await get(other.url()) == b"hello"


async def test_two_listeners_with_ports_of_the_kernels_choice() -> None:
    config = {**HELLO, "listen": [{"name": name, "uri": "http://127.0.0.1:0"} for name in ("a", "b")]}
    async with npserver.serve(config) as server:
        assert server.url("a") != server.url("b")
        assert await get(server.url("a")) == await get(server.url("b")) == b"hello"


async def test_a_config_file_is_served(tmp_path: Path) -> None:
    file = tmp_path / "npserver.json"
    file.write_text(json.dumps(HELLO))
    for path in (file, str(file)):
        async with npserver.serve(path) as server:
            assert await get(server.url()) == b"hello"


async def test_a_reload_takes_another_config() -> None:
    async with npserver.serve(HELLO) as server:
        url = server.url()
        await server.reload({**HELLO, "dispatch": [{"handler": "respond", "body": "new"}]})
        assert await get(url) == b"new"
        with pytest.raises(ConfigError, match="bdy"):
            await server.reload({**HELLO, "dispatch": [{"handler": "respond", "bdy": "x"}]})
        assert await get(url) == b"new"


async def test_failed_start_leaves_nothing_open() -> None:
    async with npserver.serve(HELLO) as server:
        port = server.addresses["web"].port
        config = {**HELLO, "listen": ["http://127.0.0.1:0", f"http://127.0.0.1:{port}"]}
        with pytest.raises(StartError, match="is in use"):
            async with npserver.serve(config):
                pass
        assert await get(server.url()) == b"hello"


async def test_problems_of_the_config_are_raised() -> None:
    with pytest.raises(ConfigError, match="dispath"):
        async with npserver.serve({**HELLO, "dispath": []}):
            pass


async def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    async with npserver.serve(HELLO) as server:
        await get(server.url())
    assert capfd.readouterr() == ("", "")


async def test_the_access_log_is_written_on_demand(tmp_path: Path) -> None:
    async with npserver.serve(HELLO, access_log=str(tmp_path / "access.log")) as server:
        await get(server.url())
    assert "200" in (tmp_path / "access.log").read_text()


async def test_exchange_in_flight_is_finished() -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await answer.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nslow")
        writer.close()

    upstream = await asyncio.start_server(forgiving(slow), "127.0.0.1", 0)
    target = f"http://127.0.0.1:{upstream.sockets[0].getsockname()[1]}"
    async with npserver.serve({**HELLO, "dispatch": [{"handler": "proxy", "proxy_pass": target}]}) as server:
        asking = asyncio.create_task(get(server.url()))
        await asyncio.wait_for(asked.wait(), 30)
        asyncio.get_running_loop().call_later(0.05, answer.set)
    assert await asking == b"slow"
    upstream.close()


def test_importing_the_package_is_light() -> None:
    code = "import sys, npserver; print('asyncio' in sys.modules, 'msgspec' in sys.modules); npserver.serve"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False False\n"


def test_unknown_names_are_errors() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        npserver.nothing  # noqa: B018
