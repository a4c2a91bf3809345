"""Every pair of sockets, by the real program between real peers: socat, redis, nc, dig and openssl."""

from __future__ import annotations

import os
import random
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.stage.asking import refuses
from tests.stage.ports import takes_datagrams
from tests.stage.program import Program
from tests.stage.programs import half_closing, needs, needs_localhost
from tests.stage.waiting import wait_until

Start = Callable[..., Program]
Ports = Callable[[], int]
DEADLINE_S = 30.0
SCHEMES = ["tcp", "udp", "unix", "unixgram", "ssl"]


@pytest.fixture
def peer() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Yield `peer(*command)`: start another program, ended at the test's end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*command: str, **options: Any) -> subprocess.Popen[bytes]:
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        one = subprocess.Popen(command, start_new_session=True, **{**quiet, **options})
        started.append(one)
        return one

    yield start
    for one in started:
        with suppress(ProcessLookupError):
            os.killpg(one.pid, 9)
        one.wait()


def say(*command: str, data: bytes = b"", **options: Any) -> bytes:
    """Run a client with `data` as its input and give its output."""
    return subprocess.run(command, input=data, capture_output=True, timeout=DEADLINE_S, check=False, **options).stdout


def wait_listening(port: int) -> None:
    wait_until(lambda: not refuses(port), f"program that listens on {port}", DEADLINE_S)


def forwards(pairs: dict[str, tuple[str, str]], **more: Any) -> dict[str, Any]:
    """A config of forwards: name to listener and target."""
    return {
        "workers": 2,
        "listen": [{"name": name, "uri": uri} for name, (uri, _) in pairs.items()],
        "dispatch": [{"listener": name, "handler": "forward", "forward_to": to} for name, (_, to) in pairs.items()],
        **more,
    }


# ── all pairs, by socat ──


@needs_localhost
@pytest.mark.parametrize("incoming", SCHEMES)
@needs("socat")
def test_every_target_behind_a_listener(
    incoming: str, program: Start, peer: Callable[..., Any], free_port: Ports, socket_dir: Path, certificates: Any
) -> None:
    certificate = certificates("localhost", "127.0.0.1")
    ports = {scheme: free_port() for scheme in [*SCHEMES, "datagrams"]}
    keys = f"cert={certificate.cert},key={certificate.key},verify=0"
    targets = {
        "tcp": (f"tcp://127.0.0.1:{ports['tcp']}", f"TCP-LISTEN:{ports['tcp']},bind=127.0.0.1,reuseaddr,fork"),
        "udp": (f"udp://127.0.0.1:{ports['udp']}", f"UDP-RECVFROM:{ports['udp']},bind=127.0.0.1,fork"),
        "unix": (f"unix://{socket_dir}/up", f"UNIX-LISTEN:{socket_dir}/up,fork"),
        "unixgram": (f"unixgram://{socket_dir}/upg", f"UNIX-RECVFROM:{socket_dir}/upg,fork"),
        "ssl": (
            f"ssl://localhost:{ports['ssl']}",
            f"OPENSSL-LISTEN:{ports['ssl']},bind=127.0.0.1,reuseaddr,{keys},fork",
        ),
        "pool": ("upstream://pool", ""),
        "datagrams": ("upstream://datagrams", f"UDP-RECVFROM:{ports['datagrams']},bind=127.0.0.1,fork"),
    }
    pools = {
        "pool": {"targets": [f"tcp://127.0.0.1:{free_port()}", targets["tcp"][0]]},  # the first refuses
        "datagrams": {
            "targets": [
                f"udp://127.0.0.1:{ports['datagrams']}",
                {"uri": f"udp://127.0.0.1:{free_port()}", "backup": True},
            ]
        },
    }
    for _, address in targets.values():
        if address:
            peer("socat", "-T5", address, "EXEC:sed -u s/^/got_/")
    listening: dict[str, str] = {}
    clients: dict[str, str] = {}
    for outgoing in targets:
        port, path = free_port(), f"{socket_dir}/{outgoing}"
        listening[outgoing] = (
            f"{incoming}://{path}" if incoming.startswith("unix") else f"{incoming}://127.0.0.1:{port}"
        )
        clients[outgoing] = {
            "tcp": f"TCP:127.0.0.1:{port}",
            "udp": f"UDP:127.0.0.1:{port}",
            "unix": f"UNIX-CONNECT:{path}",
            "unixgram": f"UNIX-SENDTO:{path},bind={path}.client",
            "ssl": f"OPENSSL:localhost:{port},pf=ip4,cafile={certificate.ca},verify=1",
        }[incoming]
    ways = {name: (listening[name], to) for name, (to, _) in targets.items()}
    config = forwards(ways, tls=certificate.config, upstreams=pools)
    next(rule for rule in config["dispatch"] if rule["listener"] == "ssl")["tls"] = {"ca": str(certificate.ca)}
    for scheme in ("tcp", "ssl"):
        wait_listening(ports[scheme])
    for name in (
        "udp",
        "datagrams",
    ):  # socat reads one datagram for each program it runs, so each has a socat of its own
        wait_until(lambda name=name: takes_datagrams("127.0.0.1", ports[name]), f"socat for {name}", DEADLINE_S)
    wait_until(lambda: Path(f"{socket_dir}/upg").exists(), "socat for unixgram", DEADLINE_S, directory=socket_dir)
    one = program(config=config)
    with ThreadPoolExecutor() as pool:
        talking = {
            outgoing: pool.submit(say, "socat", "-t1", "-", address, data=b"hello\n")
            for outgoing, address in clients.items()
        }
    answers = {outgoing: client.result() for outgoing, client in talking.items()}
    assert answers == dict.fromkeys(targets, b"got_hello\n"), one.errors


# ── protocols people use ──


@needs_localhost
@needs("redis-server", "redis-cli")
def test_redis_over_tcp_unix_and_tls(
    program: Start, peer: Callable[..., Any], free_port: Ports, socket_dir: Path, certificates: Any
) -> None:
    certificate = certificates("localhost", "127.0.0.1")
    redis, plain, secure, through = (free_port() for _ in range(4))
    peer("redis-server", "--port", str(redis), "--bind", "127.0.0.1", "--save", "", "--dir", str(socket_dir))
    wait_listening(redis)
    config = forwards(
        {
            "plain": (f"tcp://127.0.0.1:{plain}", f"tcp://127.0.0.1:{redis}"),
            "local": (f"unix://{socket_dir}/redis", f"tcp://localhost:{redis}"),
            "secure": (f"ssl://127.0.0.1:{secure}", f"unix://{socket_dir}/redis"),
            "through": (f"tcp://127.0.0.1:{through}", f"ssl://localhost:{secure}"),
        },
        tls=certificate.config,
    )
    config["dispatch"][3]["tls"] = {"ca": str(certificate.ca)}
    program(config=config)
    assert say("redis-cli", "-p", str(plain), "set", "key", "x" * 100_000) == b"OK\n"
    assert say("redis-cli", "-s", f"{socket_dir}/redis", "strlen", "key") == b"100000\n"
    assert say("redis-cli", "-p", str(through), "getrange", "key", "0", "2") == b"xxx\n"
    pipelined = b"".join(b"SET k%d %d\r\n" % (n, n) for n in range(5000))
    assert b"replies: 5000" in say("redis-cli", "-p", str(through), "--pipe", data=pipelined)
    assert say("redis-cli", "-p", str(plain), "dbsize") == b"5001\n"


@pytest.mark.parametrize("netcat", [pytest.param(name, marks=needs("socat", name)) for name in ("nc", "ncat")])
def test_a_file_sent_by_netcat_arrives_with_its_end(
    program: Start, peer: Callable[..., Any], free_port: Ports, netcat: str
) -> None:
    """It ends its side when the file has ended; the checksum comes back on the other."""
    back, front = free_port(), free_port()
    peer("socat", f"TCP-LISTEN:{back},bind=127.0.0.1,reuseaddr,fork", "SYSTEM:sha256sum")
    program(f"tcp://127.0.0.1:{front}", "-to", f"127.0.0.1:{back}")
    data = random.Random(7).randbytes(8 << 20)
    answer = say(*half_closing(netcat), "127.0.0.1", str(front), data=data)
    assert (
        answer.split()[0]
        == subprocess.run(["sha256sum"], input=data, capture_output=True, check=True).stdout.split()[0]
    )


def test_statsd_over_tcp_reaches_udp_line_by_line(program: Start, backends: Any, free_port: Ports) -> None:
    port, received = backends.udp_sink()
    front = free_port()
    config = forwards({"statsd": (f"tcp://127.0.0.1:{front}", f"udp://127.0.0.1:{port}")})
    config["dispatch"][0] |= {"mode": "datagram", "framing": "line"}
    one = program(config=config)
    lines = [b"requests:%d|c|#path:/a" % number for number in range(100)]
    with socket.create_connection(("127.0.0.1", front), DEADLINE_S) as client:
        client.sendall(b"\n".join(lines))
        client.shutdown(socket.SHUT_WR)
        one.wait_until(lambda: len(received) == 100, "all metrics")
    assert received == lines


@needs("dig")
def test_dig_over_tcp_reaches_a_udp_name_server_and_back(program: Start, free_port: Ports) -> None:
    """RFC 1035 §4.2.2 on the stream side: `framing` length16 both ways."""
    udp_dns, tcp_dns, tcp_in, udp_in = (free_port() for _ in range(4))
    config = forwards(
        {
            "tcp-in": (f"tcp://127.0.0.1:{tcp_in}", f"udp://127.0.0.1:{udp_dns}"),
            "udp-in": (f"udp://127.0.0.1:{udp_in}", f"tcp://127.0.0.1:{tcp_dns}"),
        },
        dns={"app.test": {"A": "192.0.2.7", "TXT": ["over " + "many " * 40]}},
    )
    for rule in config["dispatch"]:
        rule |= {"mode": "datagram", "framing": "length16"}
    config["listen"] += [f"udp://127.0.0.1:{udp_dns}", f"tcp://127.0.0.1:{tcp_dns}"]
    config["dispatch"] += [{"listener": [f"udp://127.0.0.1:{udp_dns}", f"tcp://127.0.0.1:{tcp_dns}"], "handler": "dns"}]
    program(config=config)
    for how, port in (("+tcp", tcp_in), ("+notcp", udp_in)):
        for name, kind, answer in (("app.test", "A", b"192.0.2.7\n"), ("app.test", "TXT", b'"over many ')):
            got = say("dig", "@127.0.0.1", "-p", str(port), how, "+short", "+tries=1", "+time=5", name, kind)
            assert got.startswith(answer), (how, kind)


@needs_localhost
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@needs("openssl")
def test_openssl_talks_to_a_listener_and_behind_a_target(
    program: Start, peer: Callable[..., Any], free_port: Ports, certificates: Any, version: str
) -> None:
    certificate = certificates("localhost", "127.0.0.1")
    server, front, middle = (free_port() for _ in range(3))
    peer("openssl", "s_server", "-accept", f"127.0.0.1:{server}", "-cert", str(certificate.cert), "-key",
         str(certificate.key), "-rev", "-quiet", version)  # fmt: skip
    wait_listening(server)
    config = forwards(
        {
            "front": (f"ssl://127.0.0.1:{front}", f"tcp://127.0.0.1:{middle}"),
            "middle": (f"tcp://127.0.0.1:{middle}", f"ssl://localhost:{server}"),
        },
        tls=certificate.config,
    )
    config["dispatch"][1]["tls"] = {"ca": str(certificate.ca)}
    program(config=config)
    client = peer("openssl", "s_client", "-connect", f"127.0.0.1:{front}", "-servername", "localhost", "-CAfile",
                  str(certificate.ca), "-verify_return_error", "-quiet", version, stdin=subprocess.PIPE,
                  stdout=subprocess.PIPE)  # fmt: skip
    client.stdin.write(b"drawer\n")
    client.stdin.flush()
    assert client.stdout.readline() == b"reward\n"
    client.stdin.close()
    client.stdout.close()


def test_game_clients_over_udp_each_have_their_stream(program: Start, backends: Any, free_port: Ports) -> None:
    echo, front = backends.tcp_echo(), free_port()
    config = forwards({"game": (f"udp://127.0.0.1:{front}", f"tcp://127.0.0.1:{echo}")})
    config["dispatch"][0]["mode"] = "stream"
    program(config=config)
    clients = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(20)]
    for number, client in enumerate(clients):
        client.settimeout(DEADLINE_S)
        client.connect(("127.0.0.1", front))
        client.send(b"player %d" % number)
    for number, client in enumerate(clients):
        assert client.recv(100) == b"player %d" % number
        client.close()
