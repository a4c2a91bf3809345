"""The scoreboard's counters as metrics with names and labels, in the text format of Prometheus.

The patterns in `FAMILIES` map slots to metric families: `http.responses.2xx` is
`npserver_http_responses_total{class="2xx"}`. A slot that matches no pattern gets a family named after it. Called by
`web.handlers.status.handler`; what a name means is kept.

The text form: https://prometheus.io/docs/instrumenting/exposition_formats/ (version 0.0.4).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from npserver.address import TARGET_SCHEMES
from npserver.regex import regex

if TYPE_CHECKING:
    from npserver.observe.exemplars import Exemplar
    from npserver.runtime.scoreboard import Scoreboard

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_TARGET = rf"(?P<upstream>.+?)\.(?P<target>(?:{'|'.join(TARGET_SCHEMES)})://.+)"

_NAME = r"(?P<upstream>.+)"


@dataclass(frozen=True, slots=True)
class Family:
    """A metric: all samples of one name."""

    name: str
    kind: str  # "counter", "gauge" or "histogram"
    help: str
    per: int = 1  # what a slot counts is this part of the unit: 1000 of milliseconds


@dataclass(frozen=True, slots=True)
class Sample:
    """One number of a family."""

    family: Family
    labels: tuple[tuple[str, str], ...]
    value: float  # an integer but for sums of seconds
    suffix: str = ""  # of a histogram's samples: "_bucket", "_sum" or "_count"
    exemplar: Exemplar | None = None  # of a bucket

    @property
    def name(self) -> str:
        """The name of the sample."""
        return self.family.name + self.suffix


def _family(pattern: str, name: str, help: str, kind: str = "counter", per: int = 1) -> tuple[re.Pattern[str], Family]:
    return re.compile(pattern), Family(f"npserver_{name}", kind, help, per)


#: Slot name to family; the first that matches counts, its named groups are the labels.
FAMILIES = [
    _family(r"http\.requests", "http_requests_total", "Requests answered."),
    _family(r"http\.responses\.(?P<class>\dxx)", "http_responses_total", "Responses by class of their status."),
    _family(r"http\.connections", "http_connections_opened_total", "Client connections accepted."),
    _family(r"http\.rejected_connections", "http_rejected_connections_total", "Client connections over a limit."),
    _family(r"http\.received_bytes", "http_received_bytes_total", "Bytes of request bodies."),
    _family(r"http\.spooled_bytes", "http_spooled_bytes_total", "Bytes of bodies that were buffered in files."),
    _family(r"http\.fastcgi\.error_bytes", "http_fastcgi_error_bytes_total", "Bytes of error output of scripts."),
    _family(r"http\.maintenance", "http_maintenance_responses_total", "Requests refused by `maintenance`."),
    _family(r"http\.preflights\.(?P<result>\w+)", "http_preflights_total", "Preflights answered by `cors`."),
    _family(r"http\.compressed\.responses", "http_compressed_responses_total", "Proxied responses compressed."),
    _family(r"http\.compressed\.read_bytes", "http_compressed_read_bytes_total", "Their bytes before compression."),
    _family(r"http\.compressed\.sent_bytes", "http_compressed_sent_bytes_total", "Their bytes after compression."),
    _family(r"http\.sent_bytes", "http_sent_bytes_total", "Bytes of response bodies."),
    _family(r"gauge\.status\.viewers", "status_viewers", "Browsers that show the status page live.", "gauge"),
    _family(r"http\.mirror\.sent", "http_mirror_sent_total", "Copies of requests that were answered."),
    _family(r"http\.mirror\.dropped", "http_mirror_dropped_total", "Copies that were not sent: over a limit."),
    _family(r"http\.mirror\.failed", "http_mirror_failed_total", "Copies that were not answered."),
    _family(r"gauge\.http\.connections", "http_connections", "Client connections open now.", "gauge"),
    _family(r"quic\.connections", "quic_connections_opened_total", "Handshakes of HTTP/3 begun."),
    _family(r"quic\.retries", "quic_retries_total", "Clients of HTTP/3 asked to validate their address (Retry)."),
    _family(r"quic\.version_negotiations", "quic_version_negotiations_total", "Clients told our version of QUIC."),
    _family(r"quic\.handed_on", "quic_handed_on_total", "Datagrams handed to the worker of their connection."),
    _family(r"quic\.strays", "quic_strays_total", "Datagrams dropped: of no connection, or over a limit."),
    _family(r"gauge\.quic\.connections", "quic_connections", "Connections of HTTP/3 open now.", "gauge"),
    _family(r"jwt\.(?P<result>\w+)", "jwt_total", "Tokens that clients have shown, by result."),
    _family(r"forward_auth\.(?P<result>\w+)", "forward_auth_total", "Requests asked about, by result."),
    _family(r"bandwidth\.(?P<rule>.+)\.waits", "bandwidth_waits_total", "Waits for the bandwidth of a rule."),
    _family(r"gauge\.max_requests\.(?P<rule>.+)", "max_requests_in_progress", "In progress by rule.", "gauge"),
    _family(r"max_requests\.(?P<rule>.+)\.refused", "max_requests_refused_total", "Over a rule's max_requests."),
    _family(r"limits\.(?P<limit>.+)\.allowed", "rate_limit_allowed_total", "Within a rate limit."),
    _family(r"limits\.(?P<limit>.+)\.limited", "rate_limit_limited_total", "Over a rate limit: refused, or dry_run."),
    _family(r"limits\.evicted", "rate_limit_evicted_total", "Keys forgotten before their time: rate_limit_keys."),
    _family(r"networks\.bans\.(?P<event>\w+)", "networks_bans_total", "Clients banned, by event."),
    _family(r"networks\.lifted_bans", "networks_lifted_bans_total", "Bans that have ended."),
    _family(r"forward\.sessions", "forward_sessions_opened_total", "Forwarded connections and sessions begun."),
    _family(r"forward\.refused", "forward_refused_total", "Clients turned away: over a limit, or of no rule."),
    _family(r"forward\.failed", "forward_failed_total", "Clients for whom no target could be reached."),
    _family(r"forward\.received_bytes", "forward_received_bytes_total", "Bytes from clients to targets."),
    _family(r"forward\.sent_bytes", "forward_sent_bytes_total", "Bytes from targets to clients."),
    _family(r"gauge\.forward\.sessions", "forward_sessions", "Forwarded connections and sessions now.", "gauge"),
    _family(
        r"gauge\.forward\.sessions\.(?P<listener>\S+) (?P<target>.+)",
        "forward_rule_sessions",
        "Connections and sessions of one rule now.",
        "gauge",
    ),
    _family(r"tls\.on_demand\.asks\.(?P<answer>\w+)", "tls_on_demand_asks_total", "Names asked about, by answer."),
    _family(r"tls\.on_demand\.orders", "tls_on_demand_orders_total", "Attempts to get a certificate on demand."),
    _family(r"tls\.on_demand\.waits", "tls_on_demand_waits_total", "Handshakes that waited for a certificate."),
    _family(r"tls\.on_demand\.late", "tls_on_demand_late_total", "Handshakes that waited in vain."),
    _family(r"tls\.on_demand\.overflows", "tls_on_demand_overflows_total", "Handshakes that could not wait."),
    _family(r"gauge\.tls\.on_demand\.waiting", "tls_on_demand_waiting", "Handshakes that wait now.", "gauge"),
    _family(r"tls\.handshakes\.(?P<version>[\w.]+)", "tls_handshakes_total", "TLS handshakes of clients by version."),
    _family(r"tls\.resumed_handshakes", "tls_resumed_handshakes_total", "Those that resumed a session."),
    _family(
        r"tls\.handshake_failures", "tls_handshake_failures_total", "TLS handshakes that failed, or took too long."
    ),
    _family(r"server\.reloads\.(?P<outcome>\w+)", "reloads_total", "Reloads of the config by outcome."),
    _family(
        r"gauge\.server\.reloaded_at",
        "last_reload_timestamp_seconds",
        "Time of the last reload whose config is in use; 0: none since the start.",
        "gauge",
    ),
    _family(r"tracing\.spans\.(?P<result>\w+)", "trace_spans_total", "Spans sent to the collector, or dropped."),
    _family(r"gauge\.tracing\.spans\.waiting", "trace_spans_waiting", "Spans that wait to be sent.", "gauge"),
    _family(
        r"log\.dropped_lines\.(?P<log>access|query) (?P<to>.+)",
        "log_dropped_lines_total",
        "Lines of the access logs and the query log that were not written.",
    ),
    _family(r"gauge\.dns\.connections", "dns_connections", "Clients connected for DNS over TCP or TLS.", "gauge"),
    _family(r"dns\.cache\.(?P<result>\w+)", "dns_cache_total", "What became of questions for resolvers in the cache."),
    _family(r"dns\.resolver\.(?P<resolver>.+)\.questions", "dns_resolver_questions_total", "Sent to a resolver."),
    _family(r"dns\.resolver\.(?P<resolver>.+)\.failures", "dns_resolver_failures_total", "Failures of a resolver."),
    _family(
        r"dns\.resolver\.(?P<resolver>.+)\.microseconds",
        "dns_resolver_seconds_total",
        "Time that a resolver took for its answers.",
        per=1_000_000,
    ),
    _family(
        r"dns\.resolver\.(?P<resolver>.+)\.private_addresses",
        "dns_resolver_private_addresses_total",
        "Answers of a resolver with private addresses that were refused.",
    ),
    _family(r"dns\.queries\.(?P<transport>\w+)", "dns_queries_total", "DNS queries by transport."),
    _family(r"dns\.rcode\.(?P<rcode>\w+)", "dns_responses_total", "DNS answers by response code."),
    _family(r"dns\.blocked\.(?P<answer>\w+)", "dns_blocked_total", "DNS queries blocked, by answer."),
    _family(
        r"dns\.block_lists\.(?P<list>\S+) (?P<source>.+)", "dns_block_list_hits_total", "DNS queries blocked, by list."
    ),
    _family(r"dns\.transfers\.(?P<result>\w+)", "dns_transfers_total", "Transfers of zones, to others and from them."),
    _family(r"dns\.updates\.(?P<result>\w+)", "dns_updates_total", "Dynamic updates of zones, done and refused."),
    _family(r"dns\.notify\.(?P<result>\w+)", "dns_notify_total", "NOTIFY messages, to others and from them."),
    _family(r"dns\.type\.(?P<type>\w+)", "dns_questions_total", "DNS questions by type."),
    _family(r"dns\.aliases\.(?P<result>\w+)", "dns_aliases_total", "Questions for the targets of ALIAS records."),
    _family(r"dns\.signatures", "dns_signatures_total", "Signatures made for signed zones."),
    _family(r"cache\.bytes\.(?P<directory>/.+)", "cache_bytes", "Bytes of stored responses.", "gauge"),
    _family(r"cache\.entries\.(?P<directory>/.+)", "cache_entries", "Stored responses.", "gauge"),
    _family(r"cache\.(?P<result>\w+)", "cache_total", "What became of requests and responses in caches."),
    _family(rf"upstream\.{_TARGET}\.requests", "upstream_requests_total", "Requests and connections sent to a target."),
    _family(rf"upstream\.{_TARGET}\.connections", "upstream_connections_total", "Connections made to a target."),
    _family(rf"upstream\.{_TARGET}\.failures", "upstream_failures_total", "Failures of a target."),
    _family(rf"upstream\.{_TARGET}\.errors", "upstream_errors_total", "Failures, and responses with status 5xx."),
    _family(rf"upstream\.{_TARGET}\.ejections", "upstream_ejections_total", "Ejections for such errors."),
    _family(rf"upstream\.{_NAME}\.retries", "upstream_retries_total", "Requests sent again to another target."),
    _family(rf"upstream\.{_NAME}\.retries_refused", "upstream_retries_refused_total", "Retries beyond the budget."),
    _family(rf"upstream\.{_NAME}\.waits", "upstream_waits_total", "Requests and connections that waited for a target."),
    _family(rf"upstream\.{_NAME}\.wait_timeouts", "upstream_wait_timeouts_total", "Those that waited in vain."),
    _family(rf"upstream\.{_NAME}\.queue_overflows", "upstream_queue_overflows_total", "Those that could not wait."),
    _family(rf"gauge\.upstream\.{_NAME}\.waiting", "upstream_waiting", "Those that wait now.", "gauge"),
    _family(rf"gauge\.upstream\.{_TARGET}\.active", "upstream_active", "Requests and connections in flight.", "gauge"),
    _family(
        rf"gauge\.upstream\.{_TARGET}\.http2_connections",
        "upstream_http2_connections",
        "Connections to a target over HTTP/2.",
        "gauge",
    ),
    _family(
        rf"gauge\.upstream\.{_TARGET}\.http2_streams",
        "upstream_http2_streams",
        "Requests in flight over HTTP/2.",
        "gauge",
    ),
    _family(rf"health\.{_TARGET}(?<!\.since)", "upstream_health", "1 healthy, 0 not checked, -1 unhealthy.", "gauge"),
]

#: Slots that hold internal state and are not shown.
_HIDDEN = regex(
    rf"health\.{_TARGET}\.(?:since|checked|ejected)|server\.started|drains\.\w+|gauge\.drains\..+|process\..+|gauge\.process\..+|budget\..+|gauge\.taken\..+|npserver_\w+\t.+|gauge\.upstream\..+\.waiting_since"
)


_ORDER = {family: number for number, (_, family) in enumerate(FAMILIES)}


def samples(board: Scoreboard) -> list[Sample]:
    """Return the values of all slots, in the order of `FAMILIES`."""
    found = [(meaning, slot) for name, slot in list(board.directory.names.items()) if (meaning := _meaning(name))]
    found.sort(key=lambda one: one[0][:2])
    return [Sample(family, labels, _value(board.total(slot), family.per)) for (_, _, family, labels), slot in found]


def prometheus(taken: Iterable[Sample]) -> str:
    """Return samples in the text format of Prometheus; those of one family must follow each other."""
    return write_families(taken, _head, write_sample)


def write_families(
    taken: Iterable[Sample], write_head: Callable[[Family], str], write_line: Callable[[Sample], str]
) -> str:
    """Return the text of samples: the lines of each family before its first sample, and the line of each sample."""
    lines = []
    last: Family | None = None
    for sample in taken:
        if sample.family != last:
            last = sample.family
            lines.append(write_head(last))
        lines.append(write_line(sample))
    return "".join(lines)


def _head(family: Family) -> str:
    return f"# HELP {family.name} {_escape(family.help)}\n# TYPE {family.name} {family.kind}\n"


def write_sample(sample: Sample, after: str = "") -> str:
    """Return the line of a sample, in both formats. `after`: what follows its value."""
    labels = ",".join(f'{name}="{quote(value)}"' for name, value in sample.labels)
    shown = f"{{{labels}}}" if labels else ""
    return f"{sample.name}{shown} {sample.value}{after}\n"


def _value(count: int, per: int) -> float:
    return count if per == 1 else count / per


@lru_cache(1 << 15)  # as many names as a row has slots
def _meaning(name: str) -> tuple[int, str, Family, tuple[tuple[str, str], ...]] | None:
    """Return the place of a slot among the samples: a number, then a name; its family and labels; None: not shown.

    Kept for each name: a status page that is live asks for all of them every second.
    """
    if _HIDDEN.fullmatch(name) is not None:
        return None
    for pattern, family in FAMILIES:
        if match := pattern.fullmatch(name):
            return _ORDER[family], family.name, family, tuple(match.groupdict().items())
    is_gauge = name.startswith("gauge.")
    words = re.sub(r"\W+", "_", name.removeprefix("gauge."))
    kind, ending = ("gauge", "") if is_gauge else ("counter", "_total")
    other = Family(f"npserver_{words}{ending}", kind, name)
    return len(_ORDER), other.name, other, ()


def quote(text: str) -> str:
    """Return the text of a label's value, without the quotes; OpenMetrics has such texts as help, too."""
    return _escape(text).replace('"', '\\"')


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")
