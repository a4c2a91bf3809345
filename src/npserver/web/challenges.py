"""Answers HTTP-01 challenges (RFC 8555 §8.3) before the rules of a listener: redirects, guards and sign-in.

A token that no order of ours waits for is left to the rules, so that other ACME clients beside us work on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from npserver.tls.acme.challenges import HTTP_PREFIX

if TYPE_CHECKING:
    from npserver.tls.acme.answering.answers import ChallengeAnswers
    from npserver.web.exchange import Exchange, Route
    from npserver.web.server.roles import RouterRole

_FIELDS = b"Content-Type: application/octet-stream\r\n"


class ChallengeRouter:
    """A router that stands before that of the rules.

    Args:
        router: of the rules.
        unrouted: the route of requests that no rule matches.
    """

    __slots__ = ("_answers", "_router", "_unrouted")

    def __init__(self, router: RouterRole, unrouted: Route, answers: ChallengeAnswers) -> None:
        self._router = router
        self._unrouted = unrouted
        self._answers = answers

    def find(self, host: str, path: str) -> Route | None:
        """Return the route for a lower-case host and a canonical path; None if no rule matches."""
        route = self._router.find(host, path)
        if not path.startswith(HTTP_PREFIX):
            return route
        otherwise = route or self._unrouted
        handler = ChallengeHandler(self._answers, otherwise)
        return replace(
            otherwise, handler=handler, gates=(), requests=(), responses=(), failures=(), change_fields=None,
            prepared=None, direct=None, is_guarded=False, by_head=None, by_address=None,
        )  # fmt: skip


class ChallengeHandler:
    """Answers with the key authorization of a token that is due, else as the rule would."""

    __slots__ = ("_answers", "_otherwise")

    def __init__(self, answers: ChallengeAnswers, otherwise: Route) -> None:
        self._answers = answers
        self._otherwise = otherwise

    def handle(self, exchange: Exchange) -> None:
        """Answer."""
        request = exchange.request
        authorization = self._answers.answers.http.get(request.path.removeprefix(HTTP_PREFIX))
        if authorization is None or request.method not in ("GET", "HEAD"):
            exchange.reroute(self._otherwise)
        else:
            exchange.respond(200, _FIELDS, authorization.encode("ascii"))
