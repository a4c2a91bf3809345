"""Those who are banned, on the status page."""

from __future__ import annotations

from npserver.network_sets.states import BAN_TOPICS
from npserver.web.handlers.status.bans import ban_table, bans_as_json, bans_of
from tests.stage.worker import make_context

HOSTILE = "<img src=x>"


def test_the_newest_come_first_and_all_is_escaped() -> None:
    pubsub = make_context().pubsub
    old = {"client": "192.0.2.7", "event": "login", "at": 1000.0, "until": 4600.0, "times": 1}
    new = {"client": "2001:db8::/64", "event": "scan", "at": 2000.0, "until": 5600.0, "times": 2}
    pubsub.publish(BAN_TOPICS + HOSTILE, [old, new])
    pubsub.publish(BAN_TOPICS + "gone", None)
    bans = bans_of(pubsub)
    assert bans_as_json(bans)[1] == {
        "client": "192.0.2.7", "network": HOSTILE, "event": "login", "since": "1970-01-01T00:16:40Z",
        "until": "1970-01-01T01:16:40Z",
    }  # fmt: skip
    shown = ban_table(bans, 2000.0)
    assert "<img" not in shown
    first, second = shown.split("<tr>")[2:]
    assert "2001:db8::/64" in first
    assert "60 min" in first
    assert "1970-01-01 00:16 UTC" in second
    assert ban_table([], 0.0) == ""
