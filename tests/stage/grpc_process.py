"""A gRPC server in a process of its own, by grpcio, and the client's side of its four kinds of calls.

Run as `python -m tests.stage.grpc_process PORT LOG`: each call appends a line to the file LOG, its kind and identifier,
when it has begun. `GrpcProcess` is the side of the test.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

ROOT = Path(__file__).parents[2]
SERVICE = "test.Calls"


class GrpcProcess:
    """A running server."""

    def __init__(self, port: int, log: Path) -> None:
        self.port = port
        self.log = log
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.stage.grpc_process", str(port), str(log)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.communicate()


def begun(*logs: Path) -> Counter[str]:
    """Return how often each call has begun, over some servers."""
    return Counter(line for log in logs if log.exists() for line in log.read_text().splitlines())


class Stub:
    """The client's side, over one channel."""

    def __init__(self, port: int, *options: tuple[str, Any]) -> None:
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=options)
        channel = self.channel
        self.unary: Any = channel.unary_unary(f"/{SERVICE}/Unary")
        self.hang: Any = channel.unary_unary(f"/{SERVICE}/Hang")
        self.fail: Any = channel.unary_unary(f"/{SERVICE}/Fail")
        self.unknown: Any = channel.unary_unary("/other.Service/Method")
        self.client_stream: Any = channel.stream_unary(f"/{SERVICE}/ClientStream")
        self.server_stream: Any = channel.unary_stream(f"/{SERVICE}/ServerStream")
        self.both: Any = channel.stream_stream(f"/{SERVICE}/Both")

    def __enter__(self) -> Stub:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()


def code_of(call: Callable[[], Any]) -> grpc.StatusCode:
    """Return the status of a call, OK included."""
    try:
        call()
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()  # type: ignore[attr-defined]
        return code
    return grpc.StatusCode.OK


def serve(port: int, log: Path) -> None:
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(text: str) -> None:
        os.write(file, f"{text}\n".encode())

    def unary(request: bytes, context: Any) -> bytes:
        note(f"unary {request.decode()}")
        context.set_trailing_metadata((("x-id", request.decode()),))
        return request

    def hang(request: bytes, context: Any) -> bytes:
        note(f"hang {request.decode()}")
        ended = threading.Event()
        context.add_callback(ended.set)
        ended.wait()
        note(f"ended {request.decode()}")
        return b""

    def fail(request: bytes, context: Any) -> bytes:
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today: é")
        return b""

    def client_stream(requests: Iterator[bytes], context: Any) -> bytes:
        messages = list(requests)
        note(f"client {messages[0].decode()}")
        return b"%d" % sum(map(len, messages))

    def server_stream(request: bytes, context: Any) -> Iterator[bytes]:
        note(f"server {request.decode()}")
        for number in range(5):
            yield b"%d" % number

    def both(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        is_first = True
        for message in requests:
            if is_first:
                note(f"both {message.decode()}")
                is_first = False
            yield message

    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Hang": grpc.unary_unary_rpc_method_handler(hang),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
        "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
        "Both": grpc.stream_stream_rpc_method_handler(both),
    }
    server = grpc.server(ThreadPoolExecutor(64))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    print("ready", flush=True)
    sys.stdin.buffer.read()  # until the test ends
    server.stop(0)


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]))
