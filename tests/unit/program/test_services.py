"""Host names that the controller looks up repeatedly, and their intervals."""

from __future__ import annotations

from npserver.config.load import load_text
from npserver.program.services import RESOLVE_INTERVAL_S, resolve_intervals


def test_hosts_of_all_targets_with_their_shortest_interval() -> None:
    config = load_text(
        """{
          "upstreams": {
            "a": { "targets": ["http://one:1", { "uri": "tcp://two:2" }, "unix:///tmp/x"], "resolve_interval": "5s" },
            "b": { "targets": ["http://one:9", "not an address"], "resolve_interval": "1m" }
          },
          "dispatch": [
            { "handler": "proxy", "proxy_pass": "http://two/path" },
            { "handler": "proxy", "proxy_pass": "upstream://a" },
            { "handler": "forward", "forward_to": "udp://three:3" }
          ]
        }""",
        "c.json",
    ).config
    assert resolve_intervals(config) == {"one": 5, "two": 5, "three": RESOLVE_INTERVAL_S}
