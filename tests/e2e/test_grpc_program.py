"""gRPC through the program: grpcio's client and servers, all kinds of calls, deadlines, cancellation, dead servers.

`NPSERVER_CALLS=10000` makes the long form of it. Covers `web.grpc_status`.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.stage.grpc_process import GrpcProcess, Stub, begun, code_of
from tests.stage.program import Program
from tests.stage.waiting import wait_until

CALLS = int(os.environ.get("NPSERVER_CALLS", "300"))
THREADS = 16
MESSAGES = [b"m" * 1000] * 20
Status = grpc.StatusCode
Start = Callable[..., Program]


@pytest.fixture
def servers(free_port: Callable[[], int], tmp_path: Path) -> Iterator[list[GrpcProcess]]:
    """Two servers."""
    found = [GrpcProcess(free_port(), tmp_path / f"calls-{number}") for number in range(2)]
    yield found
    for one in found:
        with suppress(ProcessLookupError):
            one.kill()


def config(port: int, servers: list[GrpcProcess], **rule: Any) -> dict[str, Any]:
    targets = [f"h2c://127.0.0.1:{one.port}" for one in servers]
    return {
        "workers": 2,
        "listen": [{"uri": f"http://127.0.0.1:{port}", "http2": True}],
        "upstreams": {"calls": {"targets": targets, "retry_timeout_seconds": 1}},
        "dispatch": [
            {"handler": "respond", "path": "/test.Calls/Denied", "status": 200, "deny": "127.0.0.1"},
            {"handler": "proxy", "path": "/test.Calls/**", "proxy_pass": "upstream://calls", **rule},
            {"handler": "proxy", "path": "/down.Service/**", "proxy_pass": "h2c://127.0.0.1:1"},
        ],
    }


def many(work: Callable[[int], Any], number: int = CALLS) -> list[Any]:
    """Run calls at once from several threads."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(work, range(number)))


def test_all_four_kinds(program: Start, free_port: Callable[[], int], servers: list[GrpcProcess]) -> None:
    port = free_port()
    program(config=config(port, servers))
    with Stub(port) as stub:
        assert many(lambda number: stub.unary(b"%d" % number)) == [b"%d" % number for number in range(CALLS)]
        sent = [b"9", *MESSAGES]
        assert set(many(lambda _: stub.client_stream(iter(sent)), CALLS)) == {b"%d" % (1 + 20_000)}
        assert {b"".join(one) for one in many(lambda _: list(stub.server_stream(b"1")), CALLS)} == {b"01234"}
        assert {b"".join(one) for one in many(lambda _: list(stub.both(iter([b"a", b"b"]))), CALLS)} == {b"ab"}
        with pytest.raises(grpc.RpcError) as failed:
            stub.fail(b"x")
        assert failed.value.code() is Status.FAILED_PRECONDITION  # type: ignore[attr-defined]
        assert failed.value.details() == "not today: é"  # type: ignore[attr-defined]
        _, call = stub.unary.with_call(b"last", metadata=(("x-text", "v"), ("x-data-bin", b"\0\xff")))
        assert dict(call.trailing_metadata())["x-id"] == "last"
    counted = [begun(one.log) for one in servers]
    unary = [sum(times for line, times in one.items() if line.startswith("unary")) for one in counted]
    assert sum(unary) == CALLS + 1
    assert min(unary) > CALLS // 4, "calls are balanced one by one, though the client has one connection"
    assert set((counted[0] + counted[1]).values()) - {CALLS} == {1}, "each unary call has come once"


def test_bidirectional_stream_outlives_time_limits_and_reloads(
    program: Start, free_port: Callable[[], int], servers: list[GrpcProcess]
) -> None:
    port = free_port()
    times = {"timeouts": {"response": 0.3, "read": 0.3, "send": 0.3}}
    one = program(config={**config(port, servers, **times), "timeouts": {"body": 0.3, "write": 0.3}})
    go_on = threading.Event()
    with Stub(port) as stub:

        def messages() -> Iterator[bytes]:
            yield b"first"
            go_on.wait(30)
            yield b"second"

        answers = stub.both(messages())
        assert next(answers) == b"first"
        # a call that is cut by a time limit of its own shows that more than 0.3 s have passed
        assert code_of(lambda: stub.hang(b"1", timeout=1)) is Status.DEADLINE_EXCEEDED
        for number in (1, 2):  # nor does a reload cut it
            one.send_signal(signal.SIGHUP)
            one.wait_until(lambda: one.errors.count("config reloaded") >= number, "the reload")  # noqa: B023 - at once
        go_on.set()
        assert list(answers) == [b"second"]


def test_tunnel_idle_ends_silent_calls(
    program: Start, free_port: Callable[[], int], servers: list[GrpcProcess]
) -> None:
    port = free_port()
    program(config=config(port, servers, timeouts={"tunnel_idle": 0.3}))
    with Stub(port) as stub:
        with pytest.raises(grpc.RpcError) as failed:
            stub.hang(b"1", timeout=30)
        assert failed.value.details() == "HTTP status 504"  # type: ignore[attr-defined]
        assert failed.value.code() is Status.DEADLINE_EXCEEDED  # type: ignore[attr-defined]
        wait_until(lambda: begun(*[one.log for one in servers])["ended 1"], "the call is cancelled at the server")


def test_deadlines_and_cancellation_reach_the_server(
    program: Start, free_port: Callable[[], int], servers: list[GrpcProcess]
) -> None:
    port = free_port()
    program(config=config(port, servers))
    logs = [one.log for one in servers]
    with Stub(port) as stub:
        calls = [stub.hang.future(b"%d" % number) for number in range(20)]
        wait_until(lambda: sum(begun(*logs).values()) == 20, "all have begun")
        for call in calls:
            call.cancel()
        wait_until(lambda: all(begun(*logs)[f"ended {number}"] == 1 for number in range(20)), "all are cancelled")
        codes = many(lambda number: code_of(lambda: stub.hang(b"late-%d" % number, timeout=0.2)), 20)
        assert set(codes) == {Status.DEADLINE_EXCEEDED}
        wait_until(lambda: sum(line.startswith("ended late") for line in begun(*logs)) == 20, "all are out of time")


def test_failures_have_statuses_of_grpc(
    program: Start, free_port: Callable[[], int], servers: list[GrpcProcess]
) -> None:
    port = free_port()
    one = program(config=config(port, servers, rate_limit={"rate": "2/1m"}))
    with Stub(port) as stub:
        method = stub.channel.unary_unary
        assert code_of(lambda: method("/down.Service/Any")(b"")) is Status.UNAVAILABLE
        assert code_of(lambda: method("/other.Service/Any")(b"")) is Status.UNIMPLEMENTED
        assert code_of(lambda: method("/test.Calls/Denied")(b"")) is Status.PERMISSION_DENIED
        assert code_of(lambda: method("/test.Calls/Unknown")(b"")) is Status.UNIMPLEMENTED
        codes = [code_of(lambda: stub.unary(b"1")) for _ in range(4)]
        assert codes[-1] is Status.RESOURCE_EXHAUSTED
    for line in (
        "/down.Service/Any 502 ",
        "/other.Service/Any 404 ",
        "/test.Calls/Denied 403 ",
        "/test.Calls/Unary 429 ",
    ):
        one.wait_until(lambda line=line: line in one.output, line)  # in the log with the status that explains them


def test_killed_servers(
    program: Start, free_port: Callable[[], int], servers: list[GrpcProcess], tmp_path: Path
) -> None:
    port = free_port()
    program(config=config(port, servers))
    first, second = servers
    answered: dict[int, grpc.StatusCode] = {}
    with Stub(port, ("grpc.enable_retries", 0)) as stub:

        def call(number: int) -> None:
            if number == CALLS // 4:
                first.kill()
            if number == CALLS // 2:
                servers.append(GrpcProcess(first.port, tmp_path / "calls-2"))
            answered[number] = code_of(lambda: stub.unary(b"%d" % number, timeout=30))

        many(call)
        counted = begun(*[one.log for one in servers])
        assert max(counted.values()) == 1, "no call has been processed twice"
        lost = {number for number, code in answered.items() if code is not Status.OK}
        assert {answered[number] for number in lost} <= {Status.UNAVAILABLE}
        assert len(lost) <= THREADS, (
            "only what the killed server had been sent fails: it is not known to be unprocessed"
        )
        assert all(counted[f"unary {number}"] for number in range(CALLS) if number not in lost)
        servers.pop().kill()
        second.kill()
        assert code_of(lambda: stub.unary(b"none")) is Status.UNAVAILABLE
