"""Managers that keep certificates valid, over one store and pebble, with a clock that the test moves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from npserver.store.directory import DirectoryStore
from npserver.tls.acme.answering.solver import WorkerSolver
from npserver.tls.acme.challenges import Challenge, ChallengeKind
from npserver.tls.acme.client.acme_client import AcmeClient
from npserver.tls.acme.manager import Manager, State, Wanted
from npserver.tls.acme.problems import AcmeError
from tests.stage.acme import PLACES, proving, settings, store
from tests.stage.pebble import Pebble

DAY_S = 86_400.0
ALL = tuple(ChallengeKind)


class HeldSolver(WorkerSolver):
    """Shows answers; waits before that, if a test wants it to.

    Attributes: `is_holding`, `reached` (an order waits), `go_on`, `fails` (those that have waited).
    """

    is_holding = False
    fails = False

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()

    async def present(self, challenge: Challenge) -> None:
        if self.is_holding:
            self.reached.set()
            await self.go_on.wait()
            if self.fails:
                raise AcmeError("the worker is gone", kind="noChallenge")
        await super().present(challenge)


class Kept:
    """Managers over one store, with a clock that the test moves."""

    def __init__(self, pebble: Pebble, kept: DirectoryStore, solver: HeldSolver) -> None:
        self.pebble = pebble
        self.store = kept
        self.solver = solver
        self.ahead_s = 0.0
        self.states: list[State] = []

    def manager(self, *clients: AcmeClient) -> Manager:
        return Manager(
            self.store, [], self.solver, lambda _, state: self.states.append(state), lambda: time.time() + self.ahead_s
        )

    def client(self, **more: Any) -> AcmeClient:
        return AcmeClient(settings(self.pebble, **more), self.store)

    async def look(self, wanted: Wanted, *clients: AcmeClient) -> float:
        """Do what a manager that has just started does first."""
        return await self.manager().look(wanted, clients or (self.client(),))

    async def issue(self, wanted: Wanted) -> State:
        """Have a certificate issued; return its state."""
        await self.look(wanted)
        state = await self.state(wanted)
        assert state.is_issued
        return state

    async def put(self, wanted: Wanted, state: State, **changes: Any) -> None:
        """Put a state into the store, with changes."""
        await self.store.put(wanted.state_key, msgspec.json.encode(msgspec.structs.replace(state, **changes)))

    async def state(self, wanted: Wanted) -> State:
        data = await self.store.get(wanted.state_key)
        assert data is not None
        return msgspec.json.decode(data, type=State)


@asynccontextmanager
async def keeping(
    pebble: Pebble, tmp_path: Path, certificates: Callable[..., Any], *kinds: ChallengeKind
) -> AsyncIterator[Kept]:
    async with proving(pebble, certificates().config) as proof:
        names = ("a.example.test", "*.example.test", "example.test", "alias.example.test", "unknown.invalid")
        possible = {**dict.fromkeys(names, kinds or ALL), "alias.example.test": (ChallengeKind.DNS_01,)}
        solver = HeldSolver(proof._answers, possible, PLACES)
        yield Kept(pebble, store(tmp_path / "store"), solver)


def wanted(*names: str, settings: str = "") -> Wanted:
    return Wanted(names[0].replace("*", "_"), names, "tls.acme", settings)
