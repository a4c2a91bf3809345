"""Counters as Prometheus reads them."""

from __future__ import annotations

import re

from npserver.observe import metrics
from npserver.runtime.scoreboard import Scoreboard


def board(*counts: tuple[str, int]) -> Scoreboard:
    made = Scoreboard(2, b"seed")
    for name, count in counts:
        for worker in (0, 1):
            row = made.row(worker)
            row.slots[row.slot(name)] += count
    return made


def text(made: Scoreboard) -> list[str]:
    return metrics.prometheus(metrics.samples(made)).splitlines()


def test_rows_are_summed_and_classes_become_labels() -> None:
    made = board(("http.responses.2xx", 3), ("http.responses.5xx", 1), ("gauge.http.connections", 2))
    assert text(made) == [
        "# HELP npserver_http_responses_total Responses by class of their status.",
        "# TYPE npserver_http_responses_total counter",
        'npserver_http_responses_total{class="2xx"} 6',
        'npserver_http_responses_total{class="5xx"} 2',
        "# HELP npserver_http_connections Client connections open now.",
        "# TYPE npserver_http_connections gauge",
        "npserver_http_connections 4",
    ]


def test_targets_are_labelled_even_with_dots_in_names() -> None:
    made = board(
        ("upstream.my.pool.http://10.0.0.1:80.requests", 1),
        ("gauge.upstream.pool.unix:///run/a.sock.active", 1),
        ("health.pool.tcp://[::1]:5.since", 99),
        ("health.pool.tcp://[::1]:5", 1),
    )
    assert [line for line in text(made) if not line.startswith("#")] == [
        'npserver_upstream_requests_total{upstream="my.pool",target="http://10.0.0.1:80"} 2',
        'npserver_upstream_active{upstream="pool",target="unix:///run/a.sock"} 2',
        'npserver_upstream_health{upstream="pool",target="tcp://[::1]:5"} 2',
    ]


def test_a_forward_is_labelled_by_listener_and_target() -> None:
    made = board(("gauge.forward.sessions.udp://:27015 tcp://game:27015", 1))
    assert text(made)[-1] == 'npserver_forward_rule_sessions{listener="udp://:27015",target="tcp://game:27015"} 2'


def test_label_values_are_quoted() -> None:
    made = board(('upstream.a"b\\c.http://h.failures', 1))
    assert text(made)[-1] == 'npserver_upstream_failures_total{upstream="a\\"b\\\\c",target="http://h"} 2'


def test_an_unknown_slot_still_counts() -> None:
    made = board(("dns.dropped", 1), ("gauge.new-thing", 1))
    assert "npserver_dns_dropped_total 2" in text(made)
    assert "npserver_new_thing 2" in text(made)


def test_every_line_is_of_the_exposition_format() -> None:
    names = [pattern.pattern.replace("\\", "") for pattern, _ in metrics.FAMILIES if "(?P" not in pattern.pattern]
    made = board(*((name, 1) for name in names))
    form = re.compile(r'# (?:HELP|TYPE) [a-z_]+ .+|[a-z_]+(?:\{[a-z]+="[^"]*"(?:,[a-z]+="[^"]*")*\})? -?\d+')
    assert all(form.fullmatch(line) for line in text(made))
    assert len(text(made)) == 3 * len(names)


def test_tallies_reach_the_scoreboard_when_published() -> None:
    board = Scoreboard(2, b"seed")
    first, second = board.row(0), board.row(1)
    slot = first.slot("http.requests")
    numbers = [row.tally("http.requests") for row in (first, second)]
    assert first.tally("http.requests") == numbers[0], "one name, one tally"
    other = first.tally("http.sent_bytes")
    for row, number, count in zip((first, second), numbers, (3, 4), strict=True):
        row.tallies[number] += count
    first.tallies[other] += 100
    assert board.total(slot) == 0
    first.expire(1.0)
    assert board.total(slot) == 3
    second.publish()
    second.publish()
    assert board.total(slot) == 7
    assert board.total(first.slot("http.sent_bytes")) == 100
    first.tallies[numbers[0]] += 1
    first.publish()
    assert board.total(slot) == 8
