"""Our own generator over raw non-blocking sockets and epoll; a process by itself, which prints a `Load` as JSON.

messages    one message out, one back, on each of many connections: TCP, UDP, or WebSocket frames
connects    a new connection for each exchange
download    take as much as comes; the bytes are dropped in the kernel (MSG_TRUNC, tcp(7))
once        each path of a list once, over one kept connection
hold        open connections, say so, and keep them until standard input ends
"""

from __future__ import annotations

import argparse
import http.client
import json
import select
import socket
import sys
import time
from collections.abc import Callable

HOST = "127.0.0.1"
LOST_S = 0.2  # a datagram not answered within that time is lost
UPGRADE = (
    b"GET /ws/echo HTTP/1.1\r\nHost: bench.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
GET = b"GET %s HTTP/1.1\r\nHost: bench.test\r\n\r\n"


def connect(kind: str, port: int) -> socket.socket:
    """Open a socket that is ready for messages of its kind: tcp, udp, http or websocket."""
    if kind == "udp":
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.connect((HOST, port))
        introduce(made)
        return made
    made = socket.create_connection((HOST, port), 10)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if kind == "websocket":
        made.sendall(UPGRADE)
        if not made.recv(4096).startswith(b"HTTP/1.1 101"):
            raise RuntimeError("upgrade refused")
    elif kind == "http":
        made.sendall(GET % b"/small.html")
        if not made.recv(65536).startswith(b"HTTP/1.1 200"):
            raise RuntimeError("request refused")
    return made


def introduce(made: socket.socket) -> None:
    """Wait for the answer to a first datagram, so that a server that forks for each client has done so."""
    made.settimeout(0.1)
    for _ in range(100):
        try:
            made.send(b"hello")
            made.recv(65536)
        except (TimeoutError, ConnectionRefusedError):
            continue
        break
    else:
        raise RuntimeError("the first datagram was not answered")


def message(kind: str, size: int) -> bytes:
    """Return a message of `size` bytes; WebSocket frames are masked with zeros (RFC 6455 §5.3), so echoes are equal."""
    if kind == "websocket":
        return b"\x82\xfe" + size.to_bytes(2, "big") + bytes(4) + b"x" * size
    return b"x" * size


def messages(options: argparse.Namespace) -> dict[str, float]:
    """Keep one message in flight on every connection."""
    data = message(options.kind, options.size)
    is_stream = options.kind != "udp"
    poll = select.epoll()
    sockets = {}
    for _ in range(options.connections):
        made = connect(options.kind, options.port)
        made.setblocking(False)
        sockets[made.fileno()] = made
        poll.register(made, select.EPOLLIN)
    begin = time.perf_counter()
    end = begin + options.seconds
    sent_at = dict.fromkeys(sockets, begin)
    missing = dict.fromkeys(sockets, len(data))
    for made in sockets.values():
        made.send(data)
    times: list[float] = []
    lost, look_at = 0, begin + LOST_S
    while (now := time.perf_counter()) < end:
        events = poll.poll(0.2)
        if not is_stream and now >= look_at:  # datagrams may be lost: those who have waited long begin again
            look_at = now + LOST_S / 2
            for number in [number for number, at in sent_at.items() if at < now - LOST_S]:
                lost += 1
                sent_at[number] = now
                sockets[number].send(data)
        for number, _ in events:
            made = sockets[number]
            received = len(made.recv(65536))
            if not received:
                raise RuntimeError("the server has closed")
            missing[number] -= received
            if missing[number] > 0 and is_stream:
                continue
            missing[number] = len(data)
            now = time.perf_counter()
            times.append(now - sent_at[number])
            sent_at[number] = now
            made.send(data)
    return summary(times, now - begin, lost)


def connects(options: argparse.Namespace) -> dict[str, float]:
    """Connect, send a message, read the echo, close; several in flight."""
    data = message("tcp", options.size)
    poll = select.epoll()
    begun: dict[int, tuple[socket.socket, float, int]] = {}

    def start() -> None:
        made = socket.socket()
        made.setblocking(False)
        try:
            made.connect((HOST, options.port))
        except BlockingIOError:
            pass
        begun[made.fileno()] = made, time.perf_counter(), 0
        poll.register(made, select.EPOLLOUT)

    times: list[float] = []
    errors = 0
    begin = now = time.perf_counter()
    for _ in range(options.connections):
        start()
    while now < begin + options.seconds:
        for number, event in poll.poll(0.2):
            made, started, received = begun[number]
            try:
                if event & select.EPOLLOUT:
                    made.send(data)
                    poll.modify(made, select.EPOLLIN)
                    continue
                got = len(made.recv(65536))
                received += got
                begun[number] = made, started, received
                if got and received < len(data):
                    continue
                errors += received < len(data)
            except OSError:
                errors += 1
            poll.unregister(made)
            del begun[number]
            made.close()
            times.append(time.perf_counter() - started)
            start()
        now = time.perf_counter()
    return summary(times, now - begin, errors)


def download(options: argparse.Namespace) -> dict[str, float]:
    """Read bytes: of a file requested repeatedly, or what a connection brings when there is no path."""
    buffer = bytearray(1 << 20)
    begin = now = time.perf_counter()
    total = 0
    while now < begin + options.seconds:
        made = socket.create_connection((HOST, options.port), 10)
        arrived = 0
        if options.path:
            request = f"GET {options.path} HTTP/1.1\r\nHost: bench.test\r\nConnection: close\r\n\r\n"
            made.sendall(request.encode())
        while (got := made.recv_into(buffer, len(buffer), socket.MSG_TRUNC)) and (
            options.path or now < begin + options.seconds
        ):
            total += got
            arrived += got
            now = time.perf_counter()
        made.close()
        if arrived < 1 << 20:
            raise RuntimeError(f"only {arrived} bytes came")
        now = time.perf_counter()
    return {"count": total, "seconds": now - begin}


def once(options: argparse.Namespace) -> dict[str, float]:
    """Request `/scripts/0000.js` and so on, once each, compressed."""
    connection = http.client.HTTPConnection(HOST, options.port, timeout=30)
    times = []
    errors = 0
    begin = time.perf_counter()
    for number in range(options.first, options.first + options.count):
        started = time.perf_counter()
        connection.request("GET", f"/scripts/{number:04}.js", headers={"Accept-Encoding": "gzip"})
        response = connection.getresponse()
        response.read()
        errors += response.status != 200 or response.getheader("Content-Encoding") != "gzip"
        times.append(time.perf_counter() - started)
    connection.close()
    return summary(times, time.perf_counter() - begin, errors)


def hold(options: argparse.Namespace) -> dict[str, float]:
    """Keep connections open; print `ready` once they are."""
    begin = time.perf_counter()
    held = [connect(options.kind, options.port) for _ in range(options.connections)]
    print("ready", flush=True)
    sys.stdin.read()
    for made in held:
        made.close()
    return {"count": len(held), "seconds": time.perf_counter() - begin}


def summary(times: list[float], seconds: float, errors: int) -> dict[str, float]:
    """Return the `Load` of these latencies."""
    times.sort()
    count = len(times)
    if not count:
        raise RuntimeError("nothing was answered")
    p50_us, p99_us = times[count // 2] * 1e6, times[count * 99 // 100] * 1e6
    return {"count": count, "seconds": seconds, "errors": errors, "p50_us": p50_us, "p99_us": p99_us}


MODES: dict[str, Callable[[argparse.Namespace], dict[str, float]]] = {
    "messages": messages,
    "connects": connects,
    "download": download,
    "once": once,
    "hold": hold,
}


def main() -> None:
    """Run one mode of the generator."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--kind", default="tcp")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--path", default="")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=0)
    options = parser.parse_args()
    print(json.dumps(MODES[options.mode](options)))


if __name__ == "__main__":
    main()
