"""Every error npserver raises on purpose, in one tree, and who is to blame.

NpserverError
  ConfigError        what is wrong with the config: all problems at once
  StartError         what keeps a valid config from starting: a port in use, a missing permission
  ProtocolError      a peer broke the protocol; `status` is what the client is told
    BadRequest         the client did
    BadResponse        the upstream did
  UpstreamError      an upstream could not be used: which target, in which phase
"""

from __future__ import annotations

from enum import Enum

from msgspec import Struct


class NpserverError(Exception):
    """Base of all errors raised on purpose."""


class Severity(Enum):
    """Whether a problem keeps the config from loading."""

    ERROR = "error"
    CHECK_ERROR = (
        "check error"  # `npserver check` fails on it; a server starts with it, as it did before: an expired certificate
    )
    WARNING = "warning"


class Problem(Struct, frozen=True):
    """One thing wrong in a config. `line` and `column` count from 1; 0 means that no place is known."""

    message: str
    file: str = ""
    line: int = 0
    column: int = 0
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: " if self.line else f"{self.file}: " if self.file else ""
        mark = "" if self.severity is Severity.ERROR else "warning: "
        return f"{place}{mark}{self.message}"


class ConfigError(NpserverError):
    """The config cannot be used. `problems` holds every reason, in the file's order.

    `rest` is the `config.document.Document` of what is sound in a text with faults: more may be wrong with that.
    """

    def __init__(self, problems: list[Problem], rest: object = None) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems
        self.rest = rest


class StartError(NpserverError):
    """The server cannot start: one line that names the listener, the config position and the remedy."""


class ProtocolError(NpserverError):
    """A peer broke the protocol. `key` names the config key of the limit it ran into, for the log."""

    def __init__(self, message: str, status: int, key: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.key = key


class BadRequest(ProtocolError):
    """The client sent what cannot be served."""

    def __init__(self, message: str, status: int = 400, key: str = "") -> None:
        super().__init__(message, status, key)


class BadResponse(ProtocolError):
    """The upstream sent what cannot be passed on."""

    def __init__(self, message: str, status: int = 502, key: str = "") -> None:
        super().__init__(message, status, key)


class Phase(Enum):
    """Where the use of an upstream failed; it decides what may be tried again."""

    RESOLVE = "resolve"
    DIAL = "dial"
    SEND = "send"
    RECEIVE = "receive"


class UpstreamError(NpserverError):
    """A target could not be used. `reused` tells that the connection came from the pool."""

    def __init__(
        self, message: str, target: str, phase: Phase, *, reused: bool = False, timeout: bool = False, key: str = ""
    ) -> None:
        super().__init__(message)
        self.target = target
        self.phase = phase
        self.reused = reused
        self.timeout = timeout
        self.key = key


def clip(value: object, limit: int = 60) -> str:
    """Give `repr(value)`, cut to about `limit` characters: how peers' values stand in messages."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."
