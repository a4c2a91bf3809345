"""What the examples promise: names that differ by network, TLS and metrics beside a container."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns.message
import dns.query

from tests.stage.backends import Backends
from tests.stage.program import ROOT, Program

Start = Callable[..., Program]


def example(name: str, **replaced: str) -> str:
    """Return an example with other addresses; `replaced` by what stands in the file, each of which must be there."""
    text = (ROOT / "examples" / f"{name}.json").read_text(encoding="utf-8")
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    return text


def test_split_horizon_answers_by_the_network_of_the_client(
    program: Start, free_port: Callable[[], int], public: Path
) -> None:
    web, inside, outside = free_port(), free_port(), free_port()
    text = example(
        "split-horizon",
        **{
            "http://:80": f"http://127.0.0.1:{web}",
            "udp://10.0.0.1:53": f"udp://127.0.0.1:{inside}",
            "udp://203.0.113.53:53": f"udp://127.0.0.1:{outside}",
            "10.0.0.0/8": "127.0.0.2",
            "/var/www/company": str(public),
        },
    )
    program(config=text, listens=[f"udp://127.0.0.1:{inside}", f"udp://127.0.0.1:{outside}"])

    def addresses(name: str, port: int, client: str) -> set[str]:
        reply = dns.query.udp(dns.message.make_query(name, "A"), "127.0.0.1", 10, port, source=client)
        return {str(address) for answer in reply.answer for address in answer}

    for port in (inside, outside):
        assert addresses("api.company.com", port, "127.0.0.1") == {"203.0.113.50"}
        assert addresses("company.com", port, "127.0.0.1") == {"203.0.113.100"}
        assert addresses("db.company.com", port, "127.0.0.1") == set()
        assert addresses("api.company.com", port, "127.0.0.2") == {"10.0.0.50"}
        assert addresses("search.company.com", port, "127.0.0.2") == {"10.0.0.60", "10.0.0.61"}


def test_sidecar_ends_tls_and_sends_each_line_of_metrics_as_a_datagram(
    program: Start,
    free_port: Callable[[], int],
    backends: Backends,
    certificates: Callable[..., Any],
    socket_dir: Path,
) -> None:
    web, metrics = free_port(), free_port()
    certificate = certificates()
    statsd, received = backends.udp_sink()
    own = backends.unix_echo(socket_dir / "own.sock")
    text = example(
        "sidecar",
        **{
            "https://:443": f"https://127.0.0.1:{web}",
            "tcp://:9000": f"tcp://127.0.0.1:{metrics}",
            "unix:///tmp/app.sock": f"unix://{socket_dir}/app.sock",
            "fullchain.pem": str(certificate.cert),
            "privkey.pem": str(certificate.key),
            "http://localhost:8000": f"http://127.0.0.1:{backends.http('the app')}",
            "udp://statsd:8125": f"udp://127.0.0.1:{statsd}",
            "unix:///var/run/app/app.sock": f"unix://{own}",
        },
    )
    one = program(config=text, listens=[f"https://127.0.0.1:{web}", f"tcp://127.0.0.1:{metrics}"])
    with socket.create_connection(("127.0.0.1", web), 30) as client:
        with certificate.client().wrap_socket(client, server_hostname="localhost") as secure:
            secure.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: secure.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    with socket.create_connection(("127.0.0.1", metrics), 30) as client:
        client.sendall(b"a:1|c\nb:2|c\nc:")
        one.wait_until(lambda: len(received) == 2, "two metrics")
        client.sendall(b"3|c\n")
        one.wait_until(lambda: len(received) == 3, "the third")
    assert [data.rstrip(b"\n") for data in received] == [b"a:1|c", b"b:2|c", b"c:3|c"]
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(socket_dir / "app.sock"))
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"
