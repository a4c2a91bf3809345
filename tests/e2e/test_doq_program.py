"""The whole program as a name server over QUIC: dnspython, kdig, several workers, reloads, certificates, stops."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns.asyncquery
import dns.message
import dns.rcode
import pytest
from aioquic.quic.connection import QuicConnection

from npserver.nameserver.quic.connection import NO_ERROR
from tests.conftest import Certificate
from tests.stage.asking import get
from tests.stage.doq import DoqClient, connected, messages, question
from tests.stage.program import Program
from tests.stage.programs import needs
from tests.stage.resolvers import Resolver, silent

Start = Callable[..., Program]


def config(port: int, address: str = "192.0.2.10", **more: Any) -> dict[str, Any]:
    return {
        "workers": 2,
        "listen": [{"uri": f"quic://127.0.0.1:{port}", "name": "doq", "tls": "internal"}],
        "dns": {"nas.home": {"A": address}},
        "dispatch": [{"handler": "dns", "listener": "doq"}],
        **more,
    }


def reload(one: Program) -> None:
    before = one.errors.count("config reloaded")
    one.send_signal(signal.SIGHUP)
    one.wait_until(lambda: one.errors.count("config reloaded") > before, "the reload")


async def address_of(client: DoqClient) -> str:
    return str((await client.answered()).answer[0][0])


def served_names(quic: QuicConnection) -> str:
    certificate: Any = quic.tls._peer_certificate
    return str(certificate.subject.rfc4514_string()) + str(certificate.serial_number)


@pytest.mark.parametrize("workers", [1, 2])
async def test_dnspython(
    program: Start, free_port: Callable[[], int], certificates: Callable[..., Certificate], workers: int
) -> None:
    port, certificate = free_port(), certificates()
    program(config=config(port, workers=workers, tls=certificate.config) | {"listen": [f"quic://127.0.0.1:{port}"],
            "dispatch": [{"handler": "dns"}]})  # fmt: skip
    how: dict[str, Any] = {"port": port, "verify": str(certificate.ca), "server_hostname": "localhost", "timeout": 20}
    queries = [dns.message.make_query(name, "A", pad=128) for name in ("nas.home", "none.home")] * 5
    replies = await asyncio.gather(*[dns.asyncquery.quic(query, "127.0.0.1", **how) for query in queries])
    assert [len(reply.answer) for reply in replies] == [1, 0] * 5
    assert {reply.rcode() for reply in replies} == {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}
    code = "import dns.message, dns.query, json, sys; how = json.loads(sys.argv[1]); "
    code += "print(dns.query.quic(dns.message.make_query('nas.home', 'A'), '127.0.0.1', **how).answer[0])"
    asked = subprocess.run(  # in a process of its own: it leaves sockets open
        [sys.executable, "-c", code, json.dumps(how)], capture_output=True, text=True, timeout=30, check=True
    )
    assert asked.stdout == "nas.home. 300 IN A 192.0.2.10\n"


@needs("kdig")
def test_many_queries_of_kdig_on_one_connection(program: Start, free_port: Callable[[], int]) -> None:
    port, status = free_port(), free_port()
    made = config(port, logging={"format": "json", "dns_queries": True})
    made["listen"].append({"uri": f"http://127.0.0.1:{status}", "name": "status"})
    made["dispatch"].append({"handler": "status", "listener": "status", "path": "/**"})
    one = program(config=made)
    asked = ["nas.home", "none.home"] * 10
    found = subprocess.run(
        ["kdig", "@127.0.0.1", "-p", str(port), "+quic", "+keepopen", "+short", *asked],
        capture_output=True, text=True, timeout=20, check=True,
    ).stdout.split()  # fmt: skip
    assert found == ["192.0.2.10"] * 10
    one.wait_until(lambda: one.output.count('"transport":"doq"') + one.output.count('"transport": "doq"') == 20, "log")
    assert one.output.count("NXDOMAIN") == 10

    def counters() -> dict[str, str]:
        text = get(status, "/?format=prometheus")[1].decode()
        return dict(re.findall(r"^npserver_(\w+(?:\{[^}]*\})?) (\d+)$", text, re.MULTILINE))

    one.wait_until(lambda: counters().get('dns_queries_total{transport="doq"}') == "20", "counters")
    assert int(counters()["quic_connections_opened_total"]) >= 1


async def test_reloads_with_two_workers(program: Start, free_port: Callable[[], int]) -> None:
    """Connections stay, with their worker when clients move, and ask the new config."""
    port, more = free_port(), free_port()
    one = program(config=config(port))
    clients = [DoqClient(port) for _ in range(6)]
    for client in clients:
        await client.connect()
        assert await address_of(client) == "192.0.2.10"
    for turn in range(3):
        one.configure(config(port, f"192.0.2.{20 + turn}"))
        await asyncio.to_thread(reload, one)
        for client in clients:
            client.move()
            assert await address_of(client) == f"192.0.2.{20 + turn}"
    one.configure(config(more))
    await asyncio.to_thread(reload, one)  # the listener is gone: they are idle, and end
    for client in clients:
        assert await client.until_closed() == NO_ERROR
        client.close()
    async with connected(more) as client:
        assert await address_of(client) == "192.0.2.10"


async def test_a_stop_waits_for_a_resolver(program: Start, free_port: Callable[[], int]) -> None:
    resolver = await Resolver(silent).start()
    port = free_port()
    forward = {"resolvers": [f"127.0.0.1:{resolver.address[1]}"], "timeout": "700ms", "total_timeout": "700ms"}
    one = program(config=config(port, dns_forward=forward))
    async with connected(port) as idle, connected(port) as busy:
        await idle.answered()
        _, answer = busy.ask(question("www.example.net"))
        await busy.until(lambda: resolver.asked)
        one.send_signal(signal.SIGTERM)
        assert await idle.until_closed() == NO_ERROR
        assert await busy.until_closed() == NO_ERROR
        assert [reply.rcode() for reply in messages(answer)] == [dns.rcode.SERVFAIL]
    resolver.stop()
    assert await asyncio.to_thread(one.wait_exit) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
async def test_renewed_certificates_as_another_user(
    program: Start, free_port: Callable[[], int], certificates: Callable[..., Certificate], tmp_path: Path
) -> None:
    """No other listener looks after them; the workers may not read the key."""
    assert tmp_path.parent.stat().st_mode & 0o077 == 0
    port, first, second = free_port(), certificates(), certificates()
    made = config(port, user="nobody")
    made["listen"][0]["tls"] = first.config
    one = program(config=made)
    async with connected(port) as before:
        for old, new in ((first.cert, second.cert), (first.key, second.key)):
            old.write_bytes(new.read_bytes())
        one.wait_for("changed and was loaded")

        async def serial() -> str:
            async with connected(port) as client:
                await client.answered()
                return served_names(client.quic)

        old_one = served_names(before.quic)
        async with asyncio.timeout(20):
            while await serial() == old_one or await serial() == old_one:  # either worker
                pass
        assert await address_of(before) == "192.0.2.10"
