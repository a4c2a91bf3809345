"""The table of `npserver status`: what is shown, what is left out, and what needs attention."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from npserver.cli.running.table import MAX_ROWS, attention, span, table

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def target(uri: str, **values: Any) -> dict[str, Any]:
    return {
        "upstream": "app", "uri": uri, "health": "unknown", "health_age_seconds": None, "is_ejected": False, "why": "",
        "is_backup": False, "is_draining": False, "weight": 1, "active": 0, "requests": 0, "failures": 0,
        "errors": 0, "ejections": 0,
        **values,
    }  # fmt: skip


def certificate(**values: Any) -> dict[str, Any]:
    return {"names": ["a.example"], "source": "file", "file": "a.pem", "expires": None, "error": None, **values}


def state(**values: Any) -> dict[str, Any]:
    return {
        "version": "1.0.0", "pid": 7, "config": "/etc/a.json", "uptime_seconds": 93_784.2, "is_stopping": False,
        "processes": [
            {"role": "master", "pid": 7, "age_seconds": 100.0, "restarts": 0, "is_ready": True, "cpu_seconds": 0.5,
             "memory_bytes": 30 << 20},
        ],
        "listeners": [{"name": "http://:80", "uri": "http://:80", "port": 80, "is_stream": True}],
        "targets": [], "certificates": [], "bans": {}, "last_reload": None, "metrics": {}, "attention": [], **values,
    }  # fmt: skip


def test_an_idle_server_is_shown_without_zeros() -> None:
    assert table(state(), NOW) == [
        "npserver 1.0.0, pid 7, up for 1 d 2:03:04",
        "config /etc/a.json",
        "",
        "process  pid  age      CPU    memory",
        "master   7    0:01:40  0.5 %  30 MB",
        "",
        "listener",
        "http://:80",
    ]


def test_targets_with_their_health_and_why() -> None:
    down = target("http://b", health="down", health_age_seconds=61.0, why="connection refused", failures=3)
    lines = table(state(targets=[target("http://a", active=2, requests=1200), down]), NOW)
    assert lines[-3:] == [
        "upstream  target    health            active  requests  failures  why",
        "app       http://a                    2       1,200",
        "app       http://b  down for 0:01:01                    3         connection refused",
    ]


def test_what_needs_attention() -> None:
    told = attention(
        state(
            processes=[{"role": "worker 1", "pid": 0, "is_ready": False}],
            targets=[target("http://b", health="down", why="a\x1b[31m"), target("http://c", health="up")],
            certificates=[
                certificate(expires="2026-04-01T00:00:00Z"),
                certificate(expires="2026-06-01T00:00:00Z", error="the CA does not answer"),
                certificate(expires="2026-06-01T00:00:00Z"),
            ],
            last_reload={"time": "2026-04-30T00:00:00Z", "errors": ["a.json:1:1: wrong"]},
        ),
        NOW,
    )
    assert told == [
        "worker 1 is not ready",
        "target http://b of upstream app is down: a\\x1b[31m",
        "the certificate of a.example has expired",
        "the certificate of a.example: the CA does not answer",
        "the last reload, at 2026-04-30T00:00:00Z, failed: a.json:1:1: wrong",
    ]


def test_certificates_with_the_days_that_are_left() -> None:
    assert table(state(certificates=[certificate(expires="2026-05-31T01:00:00Z")]), NOW)[-2:] == [
        "certificate  from  days left",
        "a.example    file  30",
    ]


def test_bans_and_the_last_reload() -> None:
    last = {"time": "2026-04-30T00:00:00Z", "errors": ["wrong"], "warnings": [], "is_in_use": False}
    lines = table(state(bans={"bad": 3, "good": 0}, last_reload=last, metrics={"npserver_http_requests_total": 9}), NOW)
    assert lines[-8:] == [
        "banned by  clients", "bad        3", "",
        "counter        value", "HTTP requests  9", "",
        "last reload 2026-04-30T00:00:00Z: failed", "  wrong",
    ]  # fmt: skip


def test_a_part_has_a_bounded_number_of_rows() -> None:
    lines = table(state(targets=[target(f"http://{number}") for number in range(MAX_ROWS + 5)]), NOW)
    assert lines[-1] == "... and 5 more"


def test_spans() -> None:
    assert [span(one) for one in (0, 59.9, 3600, 90_061)] == ["0:00:00", "0:00:59", "1:00:00", "1 d 1:01:01"]


def test_lines_that_logs_have_dropped_are_shown_by_their_destination() -> None:
    dropped = [{"log": "access", "to": "syslog://10.0.0.9", "value": 1200}, {"log": "query", "to": "q.log", "value": 1}]
    assert table(state(metrics={"npserver_log_dropped_lines_total": dropped}), NOW)[-4:] == [
        "",
        "log     to                 lines dropped",
        "access  syslog://10.0.0.9  1,200",
        "query   q.log              1",
    ]
