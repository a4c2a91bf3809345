"""The solver as one attempt to get a certificate uses it: which kind of challenge comes first, and what is noted.

After a failure another kind comes first than that which failed. That a kind can work by the config does not say that it
does: a zone of ours may be one that only our own network asks us about, a port may be closed by a firewall. The number
of kinds that have failed is kept in the state of each certificate, so that renewals begin with the kind that worked.

What an attempt leaves with others when its process is killed, such as records at another name server, is noted in the
state before it is there. The next attempt takes it back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from npserver.tls.acme.challenges import Challenge, ChallengeKind, Solver, possible_kinds
from npserver.tls.acme.problems import AcmeError


class AttemptSolver:
    """A `tls.acme.challenges.Solver` for one attempt.

    Args:
        solver: shows the answers.
        failed_kinds: how many kinds have failed; it may exceed their number, and begins again then.
        note: called with a challenge before its answer goes to others, who keep it when this process is killed.
    """

    __slots__ = ("_failed_kinds", "_note", "_solver")

    def __init__(self, solver: Solver, failed_kinds: int, note: Callable[[Challenge], Awaitable[None]]) -> None:
        self._solver = solver
        self._failed_kinds = failed_kinds
        self._note = note

    def __repr__(self) -> str:
        return f"<AttemptSolver {self._failed_kinds} failed kinds>"

    def kinds(self, name: str) -> Sequence[ChallengeKind]:
        """Return what can work for a name, beginning with what has not failed."""
        return rotated(self._solver.kinds(name), name, self._failed_kinds)

    async def present(self, challenge: Challenge) -> None:
        """Show an answer. Raises: AcmeError, StoreError."""
        if self._solver.goes_to_others(challenge):
            await self._note(challenge)
        await self._solver.present(challenge)

    def goes_to_others(self, challenge: Challenge) -> bool:
        """Whether the answer outlives this process, with others."""
        return self._solver.goes_to_others(challenge)

    def hint(self, challenge: Challenge) -> str:
        """Return what to look at if the CA has not found an answer; "" if there is nothing to say."""
        return self._solver.hint(challenge)

    async def withdraw(self, challenge: Challenge) -> None:
        """Take an answer back."""
        await self._solver.withdraw(challenge)

    async def take_back(self, record: str, text: str) -> None:
        """Remove a TXT record that a process which was killed has left with others."""
        await self._solver.take_back(record, text)


def rotated(kinds: Sequence[ChallengeKind], name: str, by: int) -> Sequence[ChallengeKind]:
    """Return the kinds that are possible for a name, of which the first `by` come last."""
    possible = possible_kinds(name)
    found = [kind for kind in kinds if kind in possible]
    start = by % len(found) if found else 0
    return [*found[start:], *found[:start]]


def is_of_challenge(error: AcmeError) -> bool:
    """Whether an order failed because an answer could not be shown, or was not what the CA found."""
    return bool(error.names) or error.kind == "noChallenge"


def describe_next(solver: Solver, names: Sequence[str], failed_kinds: int) -> str:
    """Return, for the log, the kinds that come first now; "" for names that have one kind only."""
    all_kinds = [rotated(solver.kinds(name), name, failed_kinds) for name in names]
    first = {kinds[0].value: None for kinds in all_kinds if len(kinds) > 1}
    return f"; {', '.join(first)} is tried next" if first else ""
