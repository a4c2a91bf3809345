"""Shows the answers to challenges at all workers of this program: over HTTP, in TLS handshakes, and in our own zones.

The controller has one solver, for all orders that run at a time. `tls.acme.answering.answers` passes the answers on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence

from npserver.tls.acme.answering.alpn_certificate import make_alpn_certificate
from npserver.tls.acme.answering.answers import Answers, ChallengeAnswers
from npserver.tls.acme.challenges import Challenge, ChallengeKind
from npserver.tls.acme.dns.places import Places
from npserver.tls.acme.dns.update_server import UpdateServer
from npserver.tls.acme.dns.updater import DnsUpdater
from npserver.tls.acme.problems import AcmeError

log = logging.getLogger("npserver.tls")

WORKERS_S = 10.0  # for all workers to take the answers


class WorkerSolver:
    """A `tls.acme.challenges.Solver`.

    Args:
        answers: of this process, which publishes them.
        kinds: what can work, by name of a certificate, the best first.
        places: of the TXT records, by `_acme-challenge` name; default: that name.
        clock: seconds since 1970.
    """

    __slots__ = ("_answers", "_certificates", "_due", "_kinds", "_places", "_publishing", "_updater")

    def __init__(
        self,
        answers: ChallengeAnswers,
        kinds: Mapping[str, Sequence[ChallengeKind]],
        places: Mapping[str, Places],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._answers = answers
        self._kinds = kinds
        self._places = places
        self._updater = DnsUpdater(clock)
        self._due: list[Challenge] = []
        self._certificates: dict[Challenge, str] = {}
        self._publishing = asyncio.Lock()  # of two values at once, the workers would take only the later one

    def __repr__(self) -> str:
        return f"<WorkerSolver {len(self._due)} due>"

    def kinds(self, name: str) -> Sequence[ChallengeKind]:
        """Return what can work for a name."""
        return self._kinds.get(name, ())

    async def clear(self) -> None:
        """Take back whatever a controller that was killed has left at the workers."""
        await self._publish(0.0)

    async def present(self, challenge: Challenge) -> None:
        """Show an answer; return when all workers have it. Raises: AcmeError."""
        if challenge.kind is ChallengeKind.TLS_ALPN_01:
            made = await asyncio.to_thread(make_alpn_certificate, challenge)
            self._certificates[challenge] = b"".join(made).decode()
        self._due.append(challenge)
        if late := await self._publish():
            numbers = ", ".join(map(str, late))
            raise AcmeError(f"worker {numbers} has not taken the answer within {WORKERS_S:g} s", kind="noChallenge")
        for server, name in self._updates_of(challenge):
            await self._updater.add(server, name, challenge.dns_value)

    async def withdraw(self, challenge: Challenge) -> None:
        """Take an answer back. Workers are not waited for: they may be ending, and an answer too many does no harm."""
        if challenge in self._due:
            self._due.remove(challenge)
        self._certificates.pop(challenge, None)
        await self._publish(0.0)
        for server, name in self._updates_of(challenge):
            await self._updater.remove(server, name, challenge.dns_value)

    async def take_back(self, record: str, text: str) -> None:
        """Remove a TXT record that a process which was killed has left at other name servers, if it is there."""
        for server, name in self._places.get(record, Places()).updates:
            try:
                await self._updater.remove(server, name, text, is_known=True)
            except AcmeError as error:
                log.warning("cannot remove the TXT record of an earlier order from %s: %s", name, error)

    def goes_to_others(self, challenge: Challenge) -> bool:
        """Whether the answer outlives this process, with others."""
        return bool(self._updates_of(challenge))

    def hint(self, challenge: Challenge) -> str:
        """Return what to look at if the CA has not found an answer; "" if there is nothing to say."""
        places = self._places_of(challenge)
        if challenge.kind is not ChallengeKind.DNS_01 or not places.alias:
            return ""
        return f"{places.record} must be a CNAME of {places.alias} (dns_alias)"

    def _updates_of(self, challenge: Challenge) -> Sequence[tuple[UpdateServer, str]]:
        return self._places_of(challenge).updates if challenge.kind is ChallengeKind.DNS_01 else ()

    def _places_of(self, challenge: Challenge) -> Places:
        name = challenge.dns_name
        return self._places.get(name) or Places(name, (name,))

    async def _publish(self, limit_s: float = WORKERS_S) -> list[int]:
        async with self._publishing:
            return await self._answers.publish(self._due_answers(), limit_s)

    def _due_answers(self) -> Answers:
        answers = Answers()
        for one in self._due:
            match one.kind:
                case ChallengeKind.HTTP_01:
                    answers.http[one.token] = one.key_authorization
                case ChallengeKind.TLS_ALPN_01:
                    answers.tls[one.server_name] = self._certificates[one]
                case ChallengeKind.DNS_01:
                    for name in self._places_of(one).ours:
                        answers.dns.setdefault(name, []).append(one.dns_value)
        return answers
