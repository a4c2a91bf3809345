"""The keys of `logging`."""

from __future__ import annotations

from typing import Annotated, Literal

from npserver.config.section import D, Section

Level = Literal["trace", "debug", "info", "warn", "error", "fatal", "off"]


class Metrics(Section, frozen=True, kw_only=True):
    """What the metrics of handler `status` have besides the counters."""

    times: Annotated[
        bool, D("measure how long requests take, by rule, and responses of upstreams, by target, in histograms")
    ] = False
    hosts: Annotated[
        bool,
        D("label the times of a rule by the names and patterns of its `host`; hosts that clients make up add none"),
    ] = False


class LogOutput(Section, frozen=True, kw_only=True):
    """The keys of `logging` that are not the level of an area."""

    format: Annotated[
        Literal["pretty", "json", "combined"], D("format of the access log; `json` is the format of the server log too")
    ] = "pretty"
    access_log: Annotated[str, D("destination of the access log: `stdout`, `stderr`, `off` or a file")] = "stdout"
    request_ids: Annotated[
        bool,
        D(
            "give every request an id, in JSON access logs and on error pages; "
            "without it only requests have one whose rule uses `$request_id`"
        ),
    ] = False
    query_log: Annotated[
        str,
        D("destination of the log of DNS queries, with what decided each answer: `stdout`, `stderr`, `off` or a file"),
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
