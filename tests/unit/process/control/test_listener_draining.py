"""What a drain costs a worker. `tests/e2e/test_drain_listener.py` shows the rest at work."""

from __future__ import annotations

import asyncio

from npserver.listen.drains import LISTENER_DRAINS
from npserver.process.control.listener_draining import ListenerDrainFollower
from tests.stage.worker import running_context


async def test_connections_are_not_looked_through_for_a_drain_that_has_left_none() -> None:
    """A drain may last for days, and others have many connections."""
    async with running_context() as context:
        follower = ListenerDrainFollower(context, {})
        follower.follow()
        drain = {"since": 1.0, "deadline": 0.0, "label": "web"}
        context.pubsub.publish(LISTENER_DRAINS, {"number": 1, "listeners": {"http://:80": drain}})
        async with asyncio.timeout(20):
            while follower not in context.sweeper.watched:
                await asyncio.sleep(0)
            while follower in context.sweeper.watched:
                await asyncio.sleep(0.01)
        follower.close()
