"""At which step of which order a CA is: it can fail, wait or have something killed there, for one host and no other.

The steps are those of `tests.stage.faulty_ca.STEPS`. Those before the order have no host: theirs is "".
"""

from __future__ import annotations

import re

from tests.stage.faulty_ca import STEPS, Answer, FaultyCa, Request

#: The steps that belong to one host.
STEPS_OF_ORDER = ("order", "authorisation", "challenge", "finalize", "poll", "certificate")


class CaSteps:
    """Tells the requests to a `FaultyCa` apart by the host whose certificate is ordered, which has no other name.

    Attributes: `at` (host and step to the answer that is given instead of pebble's), `seen` (all hosts and steps).
    """

    def __init__(self, ca: FaultyCa) -> None:
        self._ca = ca
        self._hosts: dict[str, str] = {}  # by path
        self.at: dict[tuple[str, str], Answer] = {}
        self.seen: list[tuple[str, str]] = []
        ca.answers = dict.fromkeys(STEPS.values(), self._answer)

    async def _answer(self, request: Request) -> bytes | None:
        step = next(step for step, path in STEPS.items() if request.path.startswith(path))
        host = self._hosts.get(request.path, "")
        if step == "order":
            (identifier,) = request.payload["identifiers"]
            host = identifier["value"]
        self.seen.append((host, step))
        answer = self.at.get((host, step))
        if answer is not None:
            return await answer(request)
        data = await self._ca.ask_pebble(request)
        if host:
            for url in re.findall(rb'https://[^/]+(/[^"\s]+)', data):
                self._hosts[url.decode()] = host
        return data
