"""`deploy/prometheus` and `deploy/grafana`: the metrics that they name exist, and the real Prometheus takes them."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from npserver.observe import metrics
from npserver.web.handlers import status
from tests.stage.program import ROOT, Program
from tests.stage.programs import find, needs
from tests.stage.waiting import wait_until

ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "npserver.json"


def families() -> list[metrics.Family]:
    """Return all families: those of counters, and the constants of the modules that show others."""
    return list(dict.fromkeys(_families()))


def _families() -> Iterator[metrics.Family]:
    yield from (family for _, family in metrics.FAMILIES)
    shown = [f"{status.__name__}.{one.name}" for one in pkgutil.iter_modules(status.__path__)]
    for name in ["npserver.observe.histogram", "npserver.observe.process_usage", *shown]:
        for value in vars(importlib.import_module(name)).values():
            if isinstance(value, metrics.Family):
                yield value
            yield from (one for one in getattr(value, "__dict__", {}).values() if isinstance(one, metrics.Family))
    from npserver.web.handlers.status.data_states import BLOCK_LISTS, NETWORKS

    for kind in (NETWORKS, BLOCK_LISTS):
        yield from (kind.size, kind.at, kind.failed)


def sample_names() -> set[str]:
    return {
        family.name + suffix
        for family in families()
        for suffix in (("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",))
    }


def expressions() -> list[str]:
    """Return the expressions of the dashboard, with its variables replaced."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    found = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    return [one.replace("$__rate_interval", "1m").replace("$instance", ".*") for one in found]


def test_every_metric_that_is_named_exists() -> None:
    alerts = "\n".join(line for line in ALERTS.read_text().splitlines() if "job=" not in line)
    text = alerts + "\n".join(expressions())
    assert set(re.findall(r"\bnpserver_\w+", text)) - sample_names() == set()


def test_names_follow_the_conventions_of_prometheus() -> None:
    for family in families():
        assert re.fullmatch(r"npserver_[a-z][a-z0-9_]*", family.name)
        assert (family.kind == "counter") == family.name.endswith("_total"), family


def test_no_counter_has_the_name_of_another_metric_in_openmetrics() -> None:
    """There the name of a counter is without `_total`."""
    names = [family.name.removesuffix("_total") for family in families()]
    assert [name for name in names if names.count(name) > 1] == []


@needs("promtool")
def test_promtool_finds_nothing_wrong_with_any_metric() -> None:
    page = metrics.prometheus(
        metrics.Sample(family, (("le", "+Inf"),) if suffix == "_bucket" else (), 1, suffix)
        for family in families()
        for suffix in (("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",))
    )
    linted = subprocess.run(
        [find("promtool") or "", "check", "metrics"], input=page, capture_output=True, text=True, timeout=30
    )
    assert [line for line in linted.stderr.splitlines() if "no help text" not in line] == []


def test_every_metric_is_documented() -> None:
    text = "".join(page.read_text() for page in (ROOT / "docs").glob("*.md"))
    assert {family.name for family in families()} - set(re.findall(r"npserver_\w+", text)) == set()


def test_the_panels_of_the_dashboard_lie_beside_each_other() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


@needs("promtool")
def test_promtool_finds_nothing_wrong_with_the_alerts() -> None:
    checked = subprocess.run(
        [find("promtool") or "", "check", "rules", str(ALERTS)], capture_output=True, text=True, timeout=30
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "SUCCESS" in checked.stdout


@needs("prometheus", "promtool")
def test_prometheus_scrapes_npserver_and_takes_all_rules_and_panels(
    program: Callable[..., Program], free_port: Callable[[], int], tmp_path: Path
) -> None:
    port, own = free_port(), free_port()
    program(
        config={
            "listen": [f"http://127.0.0.1:{port}"],
            "workers": 2,
            "metrics": {"times": True},
            "dispatch": [
                {"handler": "status", "path": "/metrics", "name": "status"},
                {"handler": "respond", "name": "pages", "body": "hello"},
            ],
        }
    )
    (tmp_path / "prometheus.yml").write_text(
        json.dumps(
            {
                "global": {"scrape_interval": "250ms", "evaluation_interval": "250ms"},
                "rule_files": [str(ALERTS)],
                "scrape_configs": [
                    {
                        "job_name": "npserver",
                        "metrics_path": "/metrics",
                        "static_configs": [{"targets": [f"127.0.0.1:{port}"]}],
                    }
                ],
            }
        )
    )
    page = httpx.get(f"http://127.0.0.1:{port}/metrics?format=prometheus", timeout=30).text
    linted = subprocess.run(
        [find("promtool") or "", "check", "metrics"], input=page, capture_output=True, text=True, timeout=30
    )
    assert not [line for line in linted.stderr.splitlines() if "no help text" not in line], linted.stderr
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(
            [
                find("prometheus") or "",
                f"--config.file={tmp_path / 'prometheus.yml'}",
                f"--storage.tsdb.path={tmp_path / 'data'}",
                f"--web.listen-address=127.0.0.1:{own}",
            ],
            stdout=log,
            stderr=log,
        ) as prometheus,
        httpx.Client(base_url=f"http://127.0.0.1:{own}/api/v1", timeout=30) as api,
    ):
        try:
            wait_until(
                lambda: answer(api, 'npserver_http_request_duration_seconds_count{rule="status"} > 3'), "scrapes"
            )
            (up,) = answer(api, "up")
            assert up["value"][1] == "1"
            for one in expressions():
                answer(api, one)
            assert answer(api, expressions()[1]), "a percentile"

            def rules() -> list[dict[str, Any]]:
                (group,) = api.get("/rules").json()["data"]["groups"]
                return [rule for rule in group["rules"] if rule["health"] != "unknown"]

            assert {rule["health"] for rule in wait_until(lambda: len(rules()) > 10 and rules(), "rules")} == {"ok"}
            assert not [rule["name"] for rule in rules() if rule["state"] == "firing"]
        finally:
            prometheus.terminate()


def answer(api: httpx.Client, query: str) -> list[dict[str, Any]]:
    """Return the series of a query; none while Prometheus starts."""
    try:
        reply = api.get("/query", params={"query": query})
    except httpx.TransportError:
        return []
    if reply.status_code == 503:
        return []
    assert reply.json()["status"] == "success", (query, reply.text)
    found: list[dict[str, Any]] = reply.json()["data"]["result"]
    return found
