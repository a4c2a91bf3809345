"""The exception of the ACME client: what the CA says is wrong, in a form for logs and for decisions."""

from __future__ import annotations

from msgspec import Struct

from npserver.errors import NpserverError, clip

MAX_DETAIL = 300  # characters of a CA's text that are kept
MAX_NAMES = 100  # of the names whose problems are kept; an order has no more

_PREFIX = "urn:ietf:params:acme:error:"


class NameProblem(Struct, frozen=True):
    """What is wrong with one name of an order (RFC 8555 §6.7.1)."""

    name: str
    kind: str  # as that of an `AcmeError`
    detail: str

    def __str__(self) -> str:
        return f"{self.name}: {clip(self.detail, MAX_DETAIL)} ({self.kind})"


class AcmeError(NpserverError):
    """A certificate was not issued.

    Args:
        message: what failed, for the log; without keys, whatever happened.
        kind: the type of the CA's problem document without its prefix, such as `rateLimited`, or one of ours:
            `unreachable` (no answer), `httpError` (an answer without a problem document), `malformedAnswer`,
            `wrongCertificate`, `noChallenge`, `settings`.
        detail: what the CA says about it.
        names: the problems of single names.
        status: the HTTP status of the CA's answer, 0 without one.
        retry_after_s: the CA's Retry-After.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: str,
        detail: str = "",
        names: tuple[NameProblem, ...] = (),
        status: int = 0,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.detail = detail
        self.names = names
        self.status = status
        self.retry_after_s = retry_after_s

    @property
    def is_of_ca(self) -> bool:
        """Whether another CA may well do better, because no name of ours was found wrong."""
        return not self.names and self.kind not in ("noChallenge", "settings")


def kind_of(problem_type: object) -> str:
    """Return the type of a problem without its prefix."""
    return plain(problem_type, 80).removeprefix(_PREFIX) or "about:blank"


def plain(text: object, limit: int = MAX_DETAIL) -> str:
    """Return a CA's text on one line, without control characters, and cut to `limit` characters."""
    if not isinstance(text, str):
        return ""
    return " ".join("".join(char if char.isprintable() else " " for char in text[: limit * 2]).split())[:limit]
