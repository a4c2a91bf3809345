"""An order from start to certificate in tests: npserver answers the challenges, pebble asks for them.

`proving(pebble, tls)` runs npserver with HTTP, HTTPS and DNS at the ports where pebble looks, and yields a solver that
publishes the answers in it. All names below `example.test` and `elsewhere.test` have the address 127.0.0.1.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import npserver
from npserver.store.directory import DirectoryStore
from npserver.store.files import StoreFiles
from npserver.tls.acme.answering.answers import ANSWERS, ChallengeAnswers
from npserver.tls.acme.answering.solver import WorkerSolver
from npserver.tls.acme.challenges import Challenge, ChallengeKind
from npserver.tls.acme.dns.places import Places
from npserver.tls.acme.settings import AcmeSettings, Limits
from tests.stage.pebble import Pebble

ALIASES = {"_acme-challenge.alias.example.test": "alias.elsewhere.test"}
ZONES: dict[str, Any] = {
    "dns": {
        **{name: {"A": "127.0.0.1"} for zone in ("example.test", "elsewhere.test") for name in (zone, f"*.{zone}")},
        **{name: {"CNAME": target} for name, target in ALIASES.items()},
        "localhost": {"A": "127.0.0.1"},
    },
    "dns_zones": ["example.test", "elsewhere.test"],
}
NAME = "www.example.test"
PLACES = {record: Places(record, (name,)) for record, name in ALIASES.items()}
MAC_KEY = "c2VjcmV0LW1hYy1rZXktb2YtYW4tZXh0ZXJuYWwtYWNjb3VudC1vZi1hLXRlc3Q"  # of the external account `kid`
LIMITS = Limits(request_s=15, order_s=40, poll_s=0.05)


class PublishingSolver(WorkerSolver):
    """Publishes answers in a running npserver.

    Attributes: `preferred` (the kinds, the best first), `spoil` (whether what is shown is wrong), `events`.
    """

    def __init__(self, answers: ChallengeAnswers, preferred: Sequence[ChallengeKind]) -> None:
        super().__init__(answers, {}, PLACES)
        self.preferred = preferred
        self.spoil = False
        self.events: list[str] = []

    def kinds(self, name: str) -> Sequence[ChallengeKind]:
        return self.preferred

    async def present(self, challenge: Challenge) -> None:
        self.events.append(f"+{challenge.name}")
        await super().present(_spoiled(challenge) if self.spoil else challenge)

    async def withdraw(self, challenge: Challenge) -> None:
        self.events.append(f"-{challenge.name}")
        for shown in (challenge, _spoiled(challenge)):
            await super().withdraw(shown)


def _spoiled(challenge: Challenge) -> Challenge:
    return Challenge(challenge.kind, challenge.name, challenge.token, f"{challenge.token}.wrong")


@asynccontextmanager
async def proving(pebble: Pebble, tls: dict[str, str], *preferred: ChallengeKind) -> AsyncIterator[PublishingSolver]:
    """Run npserver where pebble looks. `tls`: the value of its key `tls`. `preferred`: by default all kinds."""
    config = {
        "listen": [
            {"name": "http", "uri": f"http://127.0.0.1:{pebble.http_port}"},
            {"name": "https", "uri": f"https://127.0.0.1:{pebble.tls_port}"},
            {"name": "dns", "uri": f"udp://127.0.0.1:{pebble.dns_port}"},
        ],
        "dispatch": [
            {"listener": ["http", "https"], "handler": "respond", "status": 404},
            {"listener": "dns", "handler": "dns"},
        ],
        "tls": tls,
        **ZONES,
    }
    async with npserver.serve(config, shutdown_s=0) as server:
        answers = ANSWERS.of(server._single.data_plane.context)
        yield PublishingSolver(answers, preferred or tuple(ChallengeKind))


def settings(pebble: Pebble, **more: Any) -> AcmeSettings:
    """Return the settings for an account at this pebble."""
    return AcmeSettings(**{"directory": pebble.url, "ca": pebble.ca.read_text(), "limits": LIMITS, **more})


def store(directory: Path) -> DirectoryStore:
    """Return a store in a new directory."""
    return DirectoryStore(StoreFiles(str(directory)))
