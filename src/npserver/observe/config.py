"""The keys of `logging`, `metrics` and `tracing`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import field
from msgspec.structs import replace

from npserver.config.section import D, Section
from npserver.observe.remote.destinations import is_remote
from npserver.upstream.config import UpstreamTls

Level = Literal["trace", "debug", "info", "warn", "error", "fatal", "off"]


LogFormat = Literal["pretty", "json", "combined"]
Hidden = Literal["query", "client_ip"]
STANDARD = frozenset({"stdout", "stderr", "off"})  # destinations that are no files


class Tracing(Section, frozen=True, kw_only=True):
    """Traces of requests, for a collector of OpenTelemetry: spans are sent to it in the background."""

    to: Annotated[str, D("URL of the collector, for OTLP over HTTP with JSON; without a path: `/v1/traces`")]
    sample: Annotated[str, D('share of the traces that begin here and are recorded, such as `"5%"`')] = "100%"
    parent: Annotated[
        Literal["trusted", "all", "none"],
        D(
            "whose traces (`traceparent`) are continued, recorded or not as their client does: those of "
            "`trusted_proxies`, of all clients, or of none"
        ),
    ] = "trusted"
    service: Annotated[str, D("name of this service, as the collector shows it")] = "npserver"
    headers: Annotated[
        dict[str, str], D("header fields of the requests to the collector, such as `Authorization`", secret=True)
    ] = field(default_factory=dict)
    gzip: Annotated[bool, D("compress what is sent to the collector")] = False
    tls: Annotated[UpstreamTls | None, D("TLS settings for an https collector; default: the system's CAs")] = None


class Metrics(Section, frozen=True, kw_only=True):
    """What the metrics of handler `status` have besides the counters."""

    times: Annotated[
        bool,
        D("measure how long requests take, by rule, and responses of upstreams, by rule and by target, in histograms"),
    ] = False
    hosts: Annotated[
        bool,
        D("label the times of a rule by the names and patterns of its `host`; hosts that clients make up add none"),
    ] = False
    exemplars: Annotated[
        bool,
        D(
            "name a trace with each bucket of the times: the one of the last request in it that `tracing` has sampled; "
            "for Prometheus with `--enable-feature=exemplar-storage`"
        ),
    ] = False


def keeps_exemplars(metrics: Metrics, tracing: Tracing | None) -> bool:
    """Return whether traces are kept with the times of requests."""
    return metrics.times and metrics.exemplars and tracing is not None


class LogDestination(Section, frozen=True, kw_only=True):
    """Where a log goes, in which format, and what it hides."""

    to: Annotated[
        str,
        D(
            "destination: `stdout`, `stderr`, a file, `syslog://HOST:PORT` (`syslog+tcp://`, `syslog+tls://`), "
            "`/dev/log` or `journald`"
        ),
    ]
    ca: Annotated[
        str | None, D("file with the CA certificates that `syslog+tls://` trusts; default: those of the system")
    ] = None
    hide: Annotated[list[Hidden] | None, D("parts that are not written; default: `hide` of `logging`")] = None


class QueryLogSection(LogDestination, frozen=True, kw_only=True):
    """The log of DNS queries. The format `combined`, which has requests alone, is `pretty` here."""

    format: Annotated[LogFormat | None, D("its format; default: `format` of `logging`")] = None


class AccessLogSection(LogDestination, frozen=True, kw_only=True):
    """One of several access logs."""

    format: Annotated[
        str | None,
        D(
            "its format: `pretty`, `json`, `combined`, or a text with `$variables` for each request; default: `json` "
            "with `fields`, else `format` of `logging`"
        ),
    ] = None
    fields: Annotated[
        dict[str, str | None],
        D(
            "further fields of requests in JSON, by name: texts with `$variables`; one that JSON has anyway is "
            "replaced, or left out by `null`"
        ),
    ] = field(default_factory=dict)
    standard_fields: Annotated[bool, D("write the fields that JSON has without `fields`, too")] = True
    credentials: Annotated[
        bool, D("`fields` and `format` may have values that clients log in with, such as `$header.cookie`")
    ] = False
    only: Annotated[
        str | None,
        D(
            "conditions on what is written, such as `status >= 400 or duration > 1s`: requests alone; with "
            "`type = session and ...` sessions, with `type = query and ...` DNS queries",
            empty="all requests",
        ),
    ] = None
    sample: Annotated[str, D('share of the lines that are written, chosen at random, such as `"1%"`')] = "100%"
    keep_errors: Annotated[
        bool, D("write requests with a status of 400 and above even if `sample` leaves them out")
    ] = False


class LogOutput(Section, frozen=True, kw_only=True):
    """The keys of `logging` that are not the level of an area."""

    format: Annotated[LogFormat, D("format of the access log; `json` is the format of the server log too")] = "pretty"
    access_log: Annotated[
        str | list[str | AccessLogSection],
        D(
            "destination of the access log: `stdout`, `stderr`, `off`, a file, or what `to` of an object takes; or a "
            "list of these and of objects"
        ),
    ] = "stdout"
    hide: Annotated[
        list[Hidden],
        D(
            "parts that no access log has, unless it has a `hide` of its own: `query`, that of the target and of the "
            "Referer; `client_ip`, which is masked to its network of 24 bits (IPv6: 64), in the query log too"
        ),
    ] = field(default_factory=list)
    request_ids: Annotated[
        bool,
        D(
            "give every request an id, in JSON access logs and on error pages; "
            "without it only requests have one whose rule uses `$request_id`"
        ),
    ] = False
    query_log: Annotated[
        str | QueryLogSection,
        D(
            "destination of the log of DNS queries, with what decided each answer: `stdout`, `stderr`, `off`, a file, "
            "or what `to` of an object takes; or such an object"
        ),
    ] = "off"
    dns_queries: Annotated[bool, D("write DNS queries to the access log")] = False
    level: Annotated[Level, D("lowest level that is written, for the areas that have no level of their own")] = "info"


class Logging(LogOutput, frozen=True, kw_only=True):
    """Access log and server log. Each key below `level` sets the level of one area of the server log."""

    config: Annotated[Level | None, D("level of `config`: loading and checking the config")] = None
    server: Annotated[Level | None, D("level of `server`: processes and listeners")] = None
    http: Annotated[Level | None, D("level of `http`: HTTP connections and requests")] = None
    static: Annotated[Level | None, D("level of `static`: static files")] = None
    proxy: Annotated[Level | None, D("level of `proxy`: requests passed to upstreams")] = None
    upstream: Annotated[Level | None, D("level of `upstream`: health of targets and lookups of their names")] = None
    forward: Annotated[Level | None, D("level of `forward`: forwarded connections and sessions")] = None
    dns: Annotated[Level | None, D("level of `dns`: the name server")] = None
    tls: Annotated[Level | None, D("level of `tls`: certificates and handshakes")] = None


#: The areas of the log: each is a key of `Logging` and the logger `npserver.<area>`.
AREAS = tuple(key for key in Logging.__struct_fields__ if key not in LogOutput.__struct_fields__)


def access_logs(logging: Logging) -> list[AccessLogSection]:
    """Return the access logs, each with all of its settings; none if they are off."""
    written = logging.access_log
    found = []
    for one in [written] if isinstance(written, str) else written:
        log = AccessLogSection(to=one) if isinstance(one, str) else one
        if log.to != "off":
            hide = logging.hide if log.hide is None else log.hide
            has_own = bool(log.fields) or not log.standard_fields  # which JSON alone can have
            found.append(replace(log, format=log.format or ("json" if has_own else logging.format), hide=hide))
    return found


def is_compiled(log: AccessLogSection) -> bool:
    """Return whether an access log has settings that are to be compiled."""
    return log.only is not None or has_texts(log)


def has_texts(log: AccessLogSection) -> bool:
    """Return whether an access log has texts with variables."""
    return bool(log.fields) or not log.standard_fields or "$" in (log.format or "")


def query_log(logging: Logging) -> QueryLogSection:
    """Return the query log with all of its settings; `to` is `off` if there is none."""
    written = logging.query_log
    log = QueryLogSection(to=written) if isinstance(written, str) else written
    return replace(log, format=log.format or logging.format, hide=logging.hide if log.hide is None else log.hide)


def log_files(logging: Logging) -> list[str]:
    """Return the names of the files that logs are written to, as the config has them."""
    outputs = [one.to for one in (*access_logs(logging), query_log(logging))]
    return [name for name in outputs if name not in STANDARD and not is_remote(name)]
