"""What a reload leaves behind in a process. `tests/e2e/test_process_reload.py` shows the rest at work."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator

import pytest

import npserver
from npserver.nameserver.publish.state import STATE
from npserver.process import data_plane
from npserver.program.runtime import Runtime
from npserver.tls.acme.answering.answers import ANSWERS
from tests.stage.worker import make_context


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Nothing is collected but by us."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    yield
    if was_enabled:
        gc.enable()


@pytest.mark.usefixtures("uncollected")
async def test_the_configs_before_are_freed(free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch) -> None:
    """They are full of cycles: by its thresholds the collector would free them after many more."""
    monkeypatch.setattr(data_plane, "_COLLECT_AFTER_S", 0.01)
    port = free_port()

    def saying(number: int) -> dict[str, object]:
        return {
            "listen": [f"http://127.0.0.1:{port}"],
            "upstreams": {"app": {"targets": ["http://127.0.0.1:1"]}},
            "dispatch": [
                {"handler": "proxy", "path": "/app/**", "proxy_pass": "upstream://app"},
                {"handler": "respond", "body": str(number)},
            ],
        }

    def configs() -> int:
        return sum(type(one) is Runtime for one in gc.get_objects())

    others = configs()
    async with npserver.serve(saying(0)) as server:
        for number in range(5):
            await server.reload(saying(number))
        async with asyncio.timeout(20):
            while configs() > others + 1:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("topic", ["challenges", "published"])
def test_a_method_that_followed_is_forgotten_with_its_object(topic: str) -> None:
    """A reload leaves name servers behind, which follow these."""
    context = make_context()
    state = ANSWERS.of(context) if topic == "challenges" else STATE.of(context)

    class Follower:
        def changed(self) -> None: ...

    for _ in range(3):
        state.follow(Follower().changed)
    assert len(state._followers) == 0
