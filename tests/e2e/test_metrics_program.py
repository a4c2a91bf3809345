"""Metrics of the real program, read by Prometheus' own parser.

Covers `observe.process_usage`, `observe.reload_counters` and `program.counters`.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.stage.backends import Backends
from tests.stage.program import Program
from tests.stage.scripted_upstream import Upstream

Start = Callable[..., Program]
Labels = tuple[tuple[str, str], ...]

REQUESTS = "npserver_http_request_duration_seconds"
UPSTREAM = "npserver_upstream_response_seconds"


def config(port: int, upstream: int, **metrics: Any) -> dict[str, Any]:
    return {
        "listen": [f"http://127.0.0.1:{port}"],
        "workers": 2,
        "metrics": {"times": True, **metrics},
        "upstreams": {"app": {"targets": [f"http://127.0.0.1:{upstream}"]}},
        "dispatch": [
            {"handler": "status", "path": "/status", "name": "status"},
            {"handler": "proxy", "path": "/app/**", "proxy_pass": "upstream://app"},
            {"handler": "respond", "host": ["one.test", "*.two.test"], "body": "hello", "name": "pages"},
        ],
        "logging": {"access_log": "off"},
    }


def scrape(port: int) -> dict[tuple[str, Labels], float]:
    """Return the value of each sample by its name and labels."""
    reply = httpx.get(f"http://127.0.0.1:{port}/status?format=prometheus", timeout=30)
    families = text_string_to_metric_families(reply.text)
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for family in families for one in family.samples}


def series(port: int) -> set[tuple[str, Labels]]:
    """Return all series but those of processes, which begin as they first write them."""
    return {key for key in scrape(port) if not key[0].startswith("npserver_process_")}


def reload(one: Program, text: dict[str, Any], outcome: str = "reloaded") -> None:
    one.configure(text)
    one.forget_errors()
    one.send_signal(signal.SIGHUP)
    one.wait_for_new(outcome)


def count(port: int, name: str, **labels: str) -> float:
    """Return the sum of the samples of a name that have all these labels."""
    return sum(
        value for (found, has), value in scrape(port).items() if found == name and labels.items() <= dict(has).items()
    )


def test_requests_are_timed_by_rule_and_responses_by_target(
    program: Start, free_port: Callable[[], int], backends: Backends
) -> None:
    """Those that take the short way of the proxy, those with a body, and answers from memory; over both workers."""
    port = free_port()
    one = program(config=config(port, backends.http()))
    rule = "dispatch[1]"
    for number in range(20):
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            assert client.get("/app/x").status_code == 200
            assert client.get("/app/x").status_code == 200  # on an idle connection
            assert client.post("/app/x", content=b"x" * number).status_code == 200
            assert client.get("/", headers={"Host": "one.test"}).text == "hello"
            assert client.get("/").status_code == 404
    one.wait_until(lambda: count(port, f"{REQUESTS}_count", rule=rule) == 60, "the times of the proxy's requests")
    found = scrape(port)
    assert found[f"{UPSTREAM}_count", (("target", next(iter(_targets(found)))), ("upstream", "app"))] == 60
    assert found[f"{REQUESTS}_bucket", (("le", "+Inf"), ("rule", rule))] == 60
    assert 0 < found[f"{REQUESTS}_sum", (("rule", rule),)] < 60
    assert found[f"{REQUESTS}_count", (("rule", "pages"),)] == 20
    assert found[f"{REQUESTS}_count", (("rule", "unrouted"),)] == 20
    assert found["npserver_http_rule_responses_total", (("class", "4xx"), ("rule", "unrouted"))] == 20
    assert found["npserver_http_rule_responses_total", (("class", "2xx"), ("rule", "pages"))] == 20


def _targets(found: dict[tuple[str, Labels], float]) -> set[str]:
    return {dict(labels)["target"] for name, labels in found if name == f"{UPSTREAM}_count"}


@pytest.mark.parametrize("is_http2", [False, True])
def test_each_response_is_timed_once_however_it_arrives(
    program: Start, free_port: Callable[[], int], is_http2: bool
) -> None:
    """In pieces, cut, whole, from a target that closes its idle connection; those that never come are not timed."""
    port, upstream = free_port(), Upstream()
    text = config(port, upstream.port)
    one = program(config={**text, "listen": [{"uri": f"http://127.0.0.1:{port}", "http2": is_http2}]})
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, http1=not is_http2, http2=is_http2) as client:
        for path in ("small", "large", "small", "small", "large"):
            assert client.get(f"/app/{path}").status_code == 200
        assert client.head("/app/small").status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            client.get("/app/half")
        assert client.get("/app/small").status_code == 200
    upstream.close()
    one.wait_until(lambda: count(port, f"{UPSTREAM}_count") == 8, "8 times")
    one.wait_until(lambda: count(port, f"{REQUESTS}_count", rule="dispatch[1]") == 8, "8 times")


def test_a_thousand_hosts_of_clients_add_no_series(
    program: Start, free_port: Callable[[], int], backends: Backends
) -> None:
    port = free_port()
    one = program(config=config(port, backends.http(), hosts=True))
    before = series(port)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        for number in range(500):
            client.get("/", headers={"Host": f"guess-{number}.test"})
            client.get("/", headers={"Host": f"guess-{number}.two.test"})
    assert series(port) == before
    one.wait_until(lambda: count(port, f"{REQUESTS}_count", host="*.two.test") == 500, "500 times")
    one.wait_until(lambda: count(port, f"{REQUESTS}_count", host="one.test") == 0, "0 times")


def test_times_are_kept_by_a_reload_and_go_on(program: Start, free_port: Callable[[], int], backends: Backends) -> None:
    port, upstream = free_port(), backends.http()
    one = program(config={**config(port, upstream), "metrics": {}})
    httpx.get(f"http://127.0.0.1:{port}/app/x", timeout=30)
    assert not [name for name, _ in scrape(port) if name.startswith(REQUESTS)], "nothing is measured without the key"
    reload(one, config(port, upstream))
    httpx.get(f"http://127.0.0.1:{port}/app/x", timeout=30)
    one.wait_until(lambda: count(port, f"{REQUESTS}_count", rule="dispatch[1]") == 1, "1 times")
    reload(one, config(port, upstream, hosts=True))
    httpx.get(f"http://127.0.0.1:{port}/app/x", timeout=30)
    one.wait_until(lambda: count(port, f"{REQUESTS}_count", rule="dispatch[1]") == 2, "2 times")


def test_the_page_shows_the_rules_of_the_config_in_use(program: Start, free_port: Callable[[], int]) -> None:
    """The series of a config before it take no place from them."""
    port = free_port()

    def many(word: str) -> dict[str, Any]:
        rules = [{"handler": "respond", "path": f"/{word}-{n}", "name": f"{word}-{n}"} for n in range(40)]
        return {
            **config(port, 1),
            "workers": 0,
            "upstreams": {},
            "dispatch": [{"handler": "status", "path": "/status"}, *rules],
        }

    one = program(config=many("old"))
    reload(one, many("new"))

    def is_shown() -> bool:
        httpx.get(f"http://127.0.0.1:{port}/new-0", timeout=30)
        page = httpx.get(f"http://127.0.0.1:{port}/status?format=html", timeout=30).text
        return '<td data-h="rule">new-0</td>' in page.partition('<section id="rules">')[2].partition("</section>")[0]

    one.wait_until(is_shown, "the rule on the page")


@pytest.mark.parametrize("workers", [0, 2])
def test_reloads_are_counted_by_outcome(program: Start, free_port: Callable[[], int], workers: int) -> None:
    port = free_port()
    text = {**config(port, 9), "workers": workers}
    one = program(config=text)
    assert scrape(port)["npserver_last_reload_timestamp_seconds", ()] == 0
    began = int(time.time())
    reload(one, text)
    reload(one, {**text, "unknown": 1}, "reload failed")
    reload(one, {**text, "unknown": 1}, "reload failed")
    found = scrape(port)
    outcomes = [count(port, "npserver_reloads_total", outcome=outcome) for outcome in ("ok", "incomplete", "failed")]
    assert outcomes == [1, 0, 2]
    assert began <= found["npserver_last_reload_timestamp_seconds", ()] <= time.time()


def test_each_process_says_what_it_uses(program: Start, free_port: Callable[[], int]) -> None:
    port, began = free_port(), time.time()
    one = program(config=config(port, 9))
    processes = {"controller", "worker 0", "worker 1"}

    def used(name: str) -> dict[str, float]:
        return {dict(labels)["process"]: value for (found, labels), value in scrape(port).items() if found == name}

    memory = one.wait_until(
        lambda: (has := used("npserver_process_resident_memory_bytes")).keys() == processes and has, "all processes"
    )
    assert all(5e6 < value < 1e9 for value in memory.values())
    assert all(0 < value < 60 for value in used("npserver_process_cpu_seconds_total").values())
    starts = used("npserver_process_start_time_seconds")
    assert starts.keys() == processes
    assert all(began - 2 <= value <= time.time() for value in starts.values())


def test_a_process_that_is_started_again_has_another_start_time(program: Start, free_port: Callable[[], int]) -> None:
    port = free_port()
    one = program(config=config(port, 9))

    def starts() -> list[float]:
        found = scrape(port).items()
        return [value for (name, _), value in found if name == "npserver_process_start_time_seconds"]

    first = max(one.wait_until(lambda: len(has := starts()) == 3 and has, "all processes"))
    one.wait_until(lambda: time.time() >= first + 1.1, "another second")
    os.kill(one.children()[-1], signal.SIGKILL)
    one.wait_until(lambda: len(has := starts()) == 3 and max(has) > first, "the start of the next")


def test_lines_that_no_log_took_are_counted(program: Start, free_port: Callable[[], int], tmp_path: Path) -> None:
    """By their destination; `npserver status` shows them, too."""
    port, there = free_port(), str(tmp_path / "access.log")
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    one = program(config={**config(port, 9), "logging": {"access_log": ["/dev/full", there]}})
    for _ in range(10):
        httpx.get(f"http://127.0.0.1:{port}/none", timeout=30)

    def dropped(to: str) -> float:
        return scrape(port)["npserver_log_dropped_lines_total", (("log", "access"), ("to", to))]

    one.wait_until(lambda: dropped("/dev/full") >= 10, "the lines")
    assert dropped(there) == 0
    _, shown = one.command("status")
    assert re.search(r"^access  /dev/full +\d{2,}$", shown, re.MULTILINE), shown


def test_connections_to_targets_and_their_reuse_are_counted(
    program: Start, free_port: Callable[[], int], backends: Backends
) -> None:
    port = free_port()
    one = program(config={**config(port, backends.http()), "workers": 1})
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        for _ in range(10):
            client.get("/app/x")
    one.wait_until(lambda: count(port, "npserver_upstream_requests_total") == 10, "the requests")
    assert count(port, "npserver_upstream_connections_total") == 1


def test_retries_are_counted_without_a_budget(program: Start, free_port: Callable[[], int], backends: Backends) -> None:
    port = free_port()
    text = config(port, backends.http())
    text["upstreams"]["app"]["targets"].insert(0, f"http://127.0.0.1:{free_port()}")
    one = program(config={**text, "workers": 2})
    for _ in range(4):
        assert httpx.get(f"http://127.0.0.1:{port}/app/x", timeout=30).status_code == 200
    one.wait_until(lambda: count(port, "npserver_upstream_retries_total", upstream="app") > 0, "a retry")
    assert count(port, "npserver_upstream_retries_total") == count(port, "npserver_upstream_failures_total")


def test_handshakes_are_counted_by_version(
    program: Start, free_port: Callable[[], int], certificates: Callable[..., Any]
) -> None:
    port, plain = free_port(), free_port()
    certificate = certificates("localhost")
    text = config(plain, 9)
    one = program(
        config={
            **text,
            "listen": [*text["listen"], f"https://127.0.0.1:{port}"],
            "tls": certificate.config,
        }
    )

    def connect(version: ssl.TLSVersion, session: ssl.SSLSession | None = None) -> ssl.SSLSession | None:
        with (
            socket.create_connection(("127.0.0.1", port), 30) as connection,
            contexts[version].wrap_socket(connection, server_hostname="localhost", session=session) as tls,
        ):
            tls.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            while tls.recv(4096):
                pass
            return tls.session

    contexts = {version: certificate.client() for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)}
    for version, context in contexts.items():
        context.maximum_version = context.minimum_version = version
    session = connect(ssl.TLSVersion.TLSv1_3)
    connect(ssl.TLSVersion.TLSv1_3, session)
    connect(ssl.TLSVersion.TLSv1_2)
    with (
        socket.create_connection(("127.0.0.1", port), 30) as connection,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        ssl.create_default_context().wrap_socket(connection, server_hostname="localhost")
    one.wait_until(lambda: count(plain, "npserver_tls_handshake_failures_total") == 1, "the failure")
    assert count(plain, "npserver_tls_handshakes_total", version="TLSv1.3") == 2
    assert count(plain, "npserver_tls_handshakes_total", version="TLSv1.2") == 1
    assert count(plain, "npserver_tls_resumed_handshakes_total") == 1
