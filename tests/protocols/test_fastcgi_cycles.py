"""No client of a script leaves a reference cycle; as `tests/protocols/test_reference_cycles.py` for other clients."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.protocols.test_reference_cycles import HOST, get, left_by, post, talk
from tests.stage.fastcgi_upstream import LARGE_RECORDS, FastcgiUpstream
from tests.stage.ports import free_port
from tests.stage.uncollected import Uncollected

CHUNKED = b"POST %b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"


class ScriptServers:
    """The server under test."""

    def __init__(self, loop: str, directory: Path) -> None:
        self.loop = loop
        (directory / "index.php").touch()
        self.upstream = FastcgiUpstream()
        rule = {"handler": "fastcgi", "root": str(directory)}
        config = {
            "listen": [{"name": "web", "uri": f"http://{HOST}:0"}],
            "timeouts": {"idle": 1},
            "logging": {"level": "error"},
            "upstreams": {"php": {"targets": [self.upstream.uri], "wait": "5s"}},
            "dispatch": [
                {**rule, "path": "/once/**", "to": self.upstream.uri},
                {**rule, "path": "/kept/**", "to": self.upstream.uri, "keepalive": True},
                {**rule, "path": "/waits/**", "to": "upstream://php", "response_buffering": {"memory": 0}},
                {**rule, "path": "/none/**", "to": f"tcp://{HOST}:{free_port()}"},
            ],
        }
        self.server = Uncollected(loop, config)
        self.ports = self.server.ports

    def connect(self, name: str, context: ssl.SSLContext | None = None) -> socket.socket:
        """Return a connection to a listener."""
        return socket.create_connection((HOST, self.ports[name]), 30)

    def close(self) -> None:
        with self.server:
            pass
        self.upstream.close()


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def servers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScriptServers]:
    made = ScriptServers(request.param, tmp_path_factory.mktemp("cycles"))
    yield made
    made.close()


KINDS: dict[str, Callable[[Any], None]] = {}
for prefix in ("/once", "/kept", "/waits", "/none"):
    part = post(f"{prefix}/silent", 100_000, b"x" * 10)
    KINDS |= {
        f"{prefix} answered": talk(get(f"{prefix}/x"), get(f"{prefix}/y")),
        f"{prefix} answered before the end": talk(get(f"{prefix}/late"), get(f"{prefix}/x")),
        f"{prefix} cut by the client": talk(get(f"{prefix}/large"), cut=True),
        f"{prefix} left by the client": talk(get(f"{prefix}/large")),
        f"{prefix} cut by the server": talk(get(f"{prefix}/half"), awaited=LARGE_RECORDS * 65_535),
        f"{prefix} unanswered": talk(get(f"{prefix}/silent"), awaited=0, cut=True),
        f"{prefix} uploaded": talk(post(f"{prefix}/x", 4, b"body")),
        f"{prefix} uploaded in chunks": talk(CHUNKED % f"{prefix}/x".encode()),
        f"{prefix} upload cut": talk(part, awaited=0, cut=True),
        f"{prefix} upload left": talk(part, awaited=0),
    }


def test_a_client_leaves_no_cycle(servers: ScriptServers) -> None:
    if left_by(servers, KINDS):
        assert {kind: left for kind, act in KINDS.items() if (left := left_by(servers, {kind: act}))} == {}
