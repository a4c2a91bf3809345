"""The keys of `logging`."""

from __future__ import annotations

from typing import Annotated, Literal

from npserver.config.section import D, Section

Level = Literal["trace", "debug", "info", "warn", "error", "fatal", "off"]


class LogOutput(Section, frozen=True, kw_only=True):
    """The keys of `logging` that are not the level of an area."""

    format: Annotated[Literal["pretty", "json", "combined"], D("form of the access log; json: of all logs")] = "pretty"
    access_log: Annotated[str, D("`stdout`, `stderr`, `off` or a file")] = "stdout"
    dns_queries: Annotated[bool, D("log every DNS query too")] = False
    level: Annotated[Level, D("of all areas not named below")] = "info"


class Logging(LogOutput, frozen=True, kw_only=True):
    """What is written where. Each key below `level` is an area of the program, and sets its own level."""

    config: Annotated[Level | None, D("loading and checking the config")] = None
    server: Annotated[Level | None, D("processes and listeners")] = None
    http: Annotated[Level | None, D("requests")] = None
    static: Annotated[Level | None, D("files")] = None
    proxy: Annotated[Level | None, D("proxying")] = None
    upstream: Annotated[Level | None, D("health and resolution of targets")] = None
    forward: Annotated[Level | None, D("forwarded connections and sessions")] = None
    dns: Annotated[Level | None, D("the name server")] = None
    tls: Annotated[Level | None, D("certificates and handshakes")] = None


#: The areas of the log: each is a key of `Logging` and the logger `npserver.<area>`.
AREAS = tuple(key for key in Logging.__struct_fields__ if key not in LogOutput.__struct_fields__)
