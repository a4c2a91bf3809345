"""Shows the answers to challenges at all workers of this program: over HTTP, in TLS handshakes, and in our own zones.

The controller has one solver, for all orders that run at a time. `tls.acme.answers` passes the answers on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from npserver.tls.acme.alpn_certificate import make_alpn_certificate
from npserver.tls.acme.answers import Answers, ChallengeAnswers
from npserver.tls.acme.challenges import Challenge, ChallengeKind
from npserver.tls.acme.problems import AcmeError

WORKERS_S = 10.0  # for all workers to take the answers


class WorkerSolver:
    """A `tls.acme.challenges.Solver`.

    Args:
        answers: of this process, which publishes them.
        kinds: what can work, by name of a certificate, the best first.
        aliases: where the TXT records of a name belong, by `_acme-challenge` name, if that is a CNAME.
    """

    __slots__ = ("_aliases", "_answers", "_certificates", "_due", "_kinds", "_publishing")

    def __init__(
        self,
        answers: ChallengeAnswers,
        kinds: Mapping[str, Sequence[ChallengeKind]],
        aliases: Mapping[str, str],
    ) -> None:
        self._answers = answers
        self._kinds = kinds
        self._aliases = aliases
        self._due: list[Challenge] = []
        self._certificates: dict[Challenge, str] = {}
        self._publishing = asyncio.Lock()  # of two values at once, the workers would take only the later one

    def __repr__(self) -> str:
        return f"<WorkerSolver {len(self._due)} due>"

    def kinds(self, name: str) -> Sequence[ChallengeKind]:
        """Return what can work for a name."""
        return self._kinds.get(name, ())

    async def present(self, challenge: Challenge) -> None:
        """Show an answer; return when all workers have it. Raises: AcmeError."""
        if challenge.kind is ChallengeKind.TLS_ALPN_01:
            made = await asyncio.to_thread(make_alpn_certificate, challenge)
            self._certificates[challenge] = b"".join(made).decode()
        self._due.append(challenge)
        if late := await self._publish():
            numbers = ", ".join(map(str, late))
            raise AcmeError(f"worker {numbers} has not taken the answer within {WORKERS_S:g} s", kind="noChallenge")

    async def withdraw(self, challenge: Challenge) -> None:
        """Take an answer back."""
        if challenge in self._due:
            self._due.remove(challenge)
        self._certificates.pop(challenge, None)
        await self._publish()

    async def _publish(self) -> list[int]:
        async with self._publishing:
            return await self._answers.publish(self._due_answers(), WORKERS_S)

    def _due_answers(self) -> Answers:
        answers = Answers()
        for one in self._due:
            match one.kind:
                case ChallengeKind.HTTP_01:
                    answers.http[one.token] = one.key_authorization
                case ChallengeKind.TLS_ALPN_01:
                    answers.tls[one.server_name] = self._certificates[one]
                case ChallengeKind.DNS_01:
                    name = self._aliases.get(one.dns_name, one.dns_name)
                    answers.dns.setdefault(name, []).append(one.dns_value)
        return answers
