"""Traces named with the times of requests (`metrics.exemplars`), as Prometheus and its parser read them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from npserver.observe.open_metrics import CONTENT_TYPE
from tests.stage.collector import Server
from tests.stage.program import Program
from tests.stage.programs import find, needs
from tests.stage.waiting import wait_until

Start = Callable[..., Program]

REQUESTS = "npserver_http_request_duration_seconds_bucket"
UPSTREAM = "npserver_upstream_response_seconds_bucket"
BY_RULE = "npserver_http_upstream_response_seconds_bucket"
#: What Prometheus sends.
ACCEPT = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)


@pytest.fixture
def app() -> Iterator[Server]:
    one = Server()
    yield one
    one.close()


def config(port: int, app: Server, **metrics: Any) -> dict[str, Any]:
    return {
        "listen": [f"http://127.0.0.1:{port}"],
        "workers": 2,
        "metrics": {"times": True, "exemplars": True, **metrics},
        "tracing": {"to": f"http://127.0.0.1:{app.port}"},
        "upstreams": {"app": {"targets": [f"http://127.0.0.1:{app.port}"]}},
        "dispatch": [
            {"handler": "status", "path": "/metrics", "name": "status", "log": False},
            {"handler": "proxy", "path": "/app/**", "proxy_pass": "upstream://app", "name": "app"},
            {"handler": "respond", "host": ["one.test", "*.two.test"], "body": "hello", "name": "pages"},
        ],
        "logging": {"access_log": "off"},
    }


def scrape(port: int) -> list[Sample]:
    """Return the samples that have an exemplar, without those of the scrapes."""
    reply = httpx.get(f"http://127.0.0.1:{port}/metrics", headers={"Accept": ACCEPT}, timeout=30)
    assert reply.headers["Content-Type"] == CONTENT_TYPE
    families = text_string_to_metric_families(reply.text)
    samples = [sample for family in families for sample in family.samples]
    assert len(samples) > 50
    return [one for one in samples if one.exemplar is not None and one.labels.get("rule") != "status"]


def traces(app: Server) -> set[str]:
    """Return the traces that the application was told of."""
    return {head["traceparent"].split("-")[1] for head in app.heads}


def test_buckets_name_the_trace_of_a_request_in_them(program: Start, free_port: Callable[[], int], app: Server) -> None:
    port = free_port()
    one = program(config=config(port, app))
    for _ in range(8):
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            assert client.get("/app/x").status_code == 200

    def all_three() -> list[Sample]:
        found = scrape(port)
        return found if {sample.name for sample in found} == {REQUESTS, UPSTREAM, BY_RULE} else []

    found = one.wait_until(all_three, "exemplars of all")
    for sample in found:
        assert sample.exemplar is not None
        assert sample.exemplar.labels["trace_id"] in traces(app)
        assert sample.exemplar.value <= float(sample.labels["le"])
        assert sample.value > 0


def test_hosts_have_their_own(program: Start, free_port: Callable[[], int], app: Server) -> None:
    port = free_port()
    one = program(config=config(port, app, hosts=True))
    for host in ("one.test", "x.two.test"):
        assert httpx.get(f"http://127.0.0.1:{port}/", headers={"Host": host}, timeout=30).text == "hello"
    hosts = {"one.test", "*.two.test"}
    one.wait_until(lambda: hosts == {sample.labels["host"] for sample in scrape(port)}, "exemplars")


@pytest.mark.parametrize("change", [{"metrics": {"times": True}}, {"tracing": {"sample": "0%"}}])
def test_there_are_none_without_the_key_and_without_samples(
    program: Start, free_port: Callable[[], int], app: Server, change: dict[str, Any]
) -> None:
    port = free_port()
    text = config(port, app)
    text.update({key: {**text[key], **value} if key == "tracing" else value for key, value in change.items()})
    program(config=text)
    for _ in range(4):
        assert httpx.get(f"http://127.0.0.1:{port}/app/x", timeout=30).status_code == 200
    assert scrape(port) == []


@needs("prometheus")
def test_prometheus_stores_them(program: Start, free_port: Callable[[], int], app: Server, tmp_path: Path) -> None:
    port, own = free_port(), free_port()
    program(config=config(port, app))
    for _ in range(8):
        assert httpx.get(f"http://127.0.0.1:{port}/app/x", timeout=30).status_code == 200
    scraped = {"job_name": "npserver", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
    settings = {"global": {"scrape_interval": "250ms"}, "scrape_configs": [scraped]}
    (tmp_path / "prometheus.yml").write_text(json.dumps(settings))
    command = [
        find("prometheus") or "",
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{own}",
        "--enable-feature=exemplar-storage",
    ]

    def stored(name: str) -> set[str]:
        query = {"query": f'{name}{{rule!="status"}}', "start": "0", "end": "4000000000"}
        try:
            reply = httpx.get(f"http://127.0.0.1:{own}/api/v1/query_exemplars", params=query, timeout=30)
        except httpx.TransportError:
            return set()
        found = reply.json()["data"] if reply.status_code == 200 else []
        return {one["labels"]["trace_id"] for series in found for one in series["exemplars"]}

    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as prometheus:
        try:
            for name in (REQUESTS, UPSTREAM):
                assert wait_until(lambda name=name: stored(name), "exemplars") <= traces(app)  # type: ignore[misc]
            up = httpx.get(f"http://127.0.0.1:{own}/api/v1/query", params={"query": "up"}, timeout=30).json()
            assert [one["value"][1] for one in up["data"]["result"]] == ["1"]
        finally:
            prometheus.terminate()
