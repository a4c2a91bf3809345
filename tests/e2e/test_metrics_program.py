"""Metrics of the real program, read by Prometheus' own parser."""

from __future__ import annotations

import signal
from collections.abc import Callable
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


def reload(one: Program, text: dict[str, Any]) -> None:
    one.configure(text)
    one.forget_errors()
    one.send_signal(signal.SIGHUP)
    one.wait_for_new("reloaded")


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
    before = set(scrape(port))
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        for number in range(500):
            client.get("/", headers={"Host": f"guess-{number}.test"})
            client.get("/", headers={"Host": f"guess-{number}.two.test"})
    assert set(scrape(port)) == before
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
