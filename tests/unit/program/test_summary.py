"""The table that says at the start what each listener does."""

from __future__ import annotations

from npserver.listen.listener import Listener
from npserver.program.summary import summarise
from tests.stage.assigned import Assigned, config


def test_the_summary_says_what_each_listener_does() -> None:
    assigned = Assigned(
        config(
            '{"name": "web", "uri": "http://:80"},\n"tcp://:1",\n"udp://127.0.0.1:53",\n"unix:///tmp/a"',
            '{"handler": "static", "listener": "web", "root": "./public"},\n'
            '{"handler": "proxy", "listener": "web", "host": ["a", "b"], "path": "/x", "proxy_pass": "http://c"},\n'
            '{"handler": "redirect", "listener": "web", "path": "/r", "to": "/s"},\n'
            '{"handler": "status", "listener": "web"},\n'
            '{"handler": "forward", "listener": "tcp://:1", "forward_to": "tcp://c:1", "sni": "d", "from": "e"},\n'
            '{"handler": "dns", "listener": "udp://127.0.0.1:53"}',
        )
    )
    listeners: list[Listener] = list(assigned.listeners.values())
    assert summarise(listeners, assigned.rules) == (
        ("web http://:80", "/**  files from ./public"),
        ("web http://:80", "a/x, b/x  proxy to http://c"),
        ("web http://:80", "/r  redirect to /s"),
        ("web http://:80", "/status  status page"),
        ("tcp://:1", "forward to tcp://c:1 for d from e"),
        ("udp://127.0.0.1:53", "name server"),
        ("unix:///tmp/a", "/**  welcome page"),
    )
