"""The exceptions that npserver raises on purpose, in one tree.

NpserverError
  ConfigError        the config is invalid; carries all problems found
  StartError         a valid config cannot be started: a port in use, a missing permission
  StoreError         the store cannot be read or written: a full disk, a missing permission
  ProtocolError      a peer broke the protocol; carries the status that the client is answered with
    BadRequest         the client did
    BadResponse        the upstream did
  UpstreamError      an upstream could not be used; carries the target and the phase
"""

from __future__ import annotations

from enum import Enum

from msgspec import Struct


class NpserverError(Exception):
    """Base class of all exceptions that npserver raises on purpose."""


class Severity(Enum):
    """Whether a problem keeps the config from being used."""

    ERROR = "error"
    CHECK_ERROR = (
        "check error"  # `npserver check` fails on it; a server starts with it, as it did before: an expired certificate
    )
    WARNING = "warning"


class Problem(Struct, frozen=True):
    """One problem of a config. `line` and `column` count from 1; 0 means that the position is unknown."""

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
    """The config cannot be used.

    Args:
        problems: every reason, in the order of the file.
        valid_part: the `config.document.Document` of the valid sections, if the text could be read; checking it may
            find further problems.
    """

    def __init__(self, problems: list[Problem], valid_part: object = None) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems
        self.valid_part = valid_part


class StartError(NpserverError):
    """The server cannot start. The message is one line: the listener, its position in the config, and what to do."""


class StoreError(NpserverError):
    """The store cannot be read or written. The message is one line: the file, the reason, what to do. No contents."""


class ProtocolError(NpserverError):
    """A peer broke the protocol.

    Args:
        message: what is wrong, for the log.
        status: the HTTP status to answer the client with.
        key: the config key of the limit that was exceeded, if any; for the log.
        rfc: the section of the standard that was broken, where no config key decides; for the log.
    """

    def __init__(self, message: str, status: int, key: str = "", *, rfc: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.key = key
        self.rfc = rfc

    @property
    def decided_by(self) -> str:
        """The config key that decided, else the section of the standard."""
        return self.key or self.rfc


class BadRequest(ProtocolError):
    """The client sent a request that cannot be served. `fields`: complete lines that its answer must have."""

    def __init__(self, message: str, status: int = 400, key: str = "", *, rfc: str = "", fields: bytes = b"") -> None:
        super().__init__(message, status, key, rfc=rfc)
        self.fields = fields


class BadResponse(ProtocolError):
    """The upstream sent a response that cannot be forwarded."""

    def __init__(self, message: str, status: int = 502, key: str = "", *, rfc: str = "") -> None:
        super().__init__(message, status, key, rfc=rfc)


class Phase(Enum):
    """The phase in which using an upstream failed; `upstream.retry` decides by it whether to retry."""

    RESOLVE = "resolve"
    DIAL = "dial"
    SEND = "send"
    RECEIVE = "receive"


class UpstreamError(NpserverError):
    """A target could not be used.

    Args:
        message: what failed, for the log.
        target: the target's name.
        phase: when it failed.
        reused: whether the connection came from the pool, so that the target may have closed it meanwhile.
        timeout: whether a deadline passed.
        key: the config key of that deadline; for the log.

    Attributes:
        unprocessed: whether the target says that it has not processed the request (RFC 9113 §8.7, FastCGI §5.5).
        going_away: whether it says so because it ends the connection, not because it refuses the request.
        unserved: whether it does not take such requests at all, which is no failure of the target.
    """

    def __init__(
        self, message: str, target: str, phase: Phase, *, reused: bool = False, timeout: bool = False, key: str = ""
    ) -> None:
        super().__init__(message)
        self.target = target
        self.phase = phase
        self.reused = reused
        self.timeout = timeout
        self.key = key
        self.unprocessed = False
        self.going_away = False
        self.unserved = False


def reason_of(error: BaseException) -> str:
    """Return why something failed, in lower case: `connection refused`, not `[Errno 111] Connection refused`."""
    text = getattr(error, "strerror", None) or str(error)
    if not text:
        return "timed out" if isinstance(error, TimeoutError) else type(error).__name__
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


def clip(value: object, limit: int = 60) -> str:
    """Return `repr(value)`, cut to about `limit` characters, to quote a value from a peer or a config in a message.

    null, true and false are shown as JSON has them; of objects and lists only the type is said.
    """
    if value is None:
        return "null"
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."
