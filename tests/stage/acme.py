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
from npserver.tls.acme.alpn_certificate import make_alpn_certificate
from npserver.tls.acme.answers import ANSWERS, Answers, ChallengeAnswers
from npserver.tls.acme.challenges import Challenge, ChallengeKind
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
MAC_KEY = "c2VjcmV0LW1hYy1rZXktb2YtYW4tZXh0ZXJuYWwtYWNjb3VudC1vZi1hLXRlc3Q"  # of the external account `kid`
LIMITS = Limits(request_s=15, order_s=40, poll_s=0.05)


class PublishingSolver:
    """Publishes answers in a running npserver.

    Attributes: `preferred` (the kinds, the best first), `spoil` (whether what is shown is wrong), `events`.
    """

    def __init__(self, answers: ChallengeAnswers, preferred: Sequence[ChallengeKind]) -> None:
        self._answers = answers
        self._due: list[Challenge] = []
        self.preferred = preferred
        self.spoil = False
        self.events: list[str] = []

    def kinds(self, name: str) -> Sequence[ChallengeKind]:
        return self.preferred

    async def present(self, challenge: Challenge) -> None:
        self.events.append(f"+{challenge.name}")
        self._due.append(challenge)
        await self._publish()

    async def withdraw(self, challenge: Challenge) -> None:
        self.events.append(f"-{challenge.name}")
        self._due.remove(challenge)
        await self._publish()

    async def _publish(self) -> None:
        http, tls, texts = {}, {}, dict[str, list[str]]()
        for one in self._due:
            spoiled = Challenge(one.kind, one.name, one.token, f"{one.token}.wrong") if self.spoil else one
            match one.kind:
                case ChallengeKind.HTTP_01:
                    http[one.token] = spoiled.http_body.decode()
                case ChallengeKind.TLS_ALPN_01:
                    tls[one.server_name] = b"".join(make_alpn_certificate(spoiled)).decode()
                case ChallengeKind.DNS_01:
                    texts.setdefault(ALIASES.get(one.dns_name, one.dns_name), []).append(spoiled.dns_value)
        assert await self._answers.publish(Answers(http=http, tls=tls, dns=texts), 10) == []


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
    return AcmeSettings(**{"directory": pebble.url, "ca_file": str(pebble.ca), "limits": LIMITS, **more})


def store(directory: Path) -> DirectoryStore:
    """Return a store in a new directory."""
    return DirectoryStore(StoreFiles(str(directory)))
