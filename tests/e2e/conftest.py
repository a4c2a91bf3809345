"""Fixtures of tests that run the whole program."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from tests.stage.asking import SlowUpstream
from tests.stage.collector import Server
from tests.stage.counting_resolver import CountingResolver
from tests.stage.faulty_ca import FaultyCa, faulty_ca_in_thread
from tests.stage.pebble import Pebble, running_pebble


@pytest.fixture
def slow() -> Iterator[SlowUpstream]:
    """Yield an upstream that answers each request when told to."""
    upstream = SlowUpstream()
    yield upstream
    upstream.close()


@pytest.fixture
def resolver() -> Iterator[CountingResolver]:
    """Yield a resolver that counts what it is asked."""
    found = CountingResolver()
    yield found
    found.close()


@pytest.fixture(scope="module")
def pebble(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA) -> Iterator[Pebble]:
    """Yield a CA, one for each module."""
    with running_pebble(tmp_path_factory.mktemp("ca") / "pebble", authority) as running:
        yield running


@pytest.fixture
def ca(pebble: Pebble, authority: trustme.CA, tmp_path: Path) -> Iterator[FaultyCa]:
    """Yield a `FaultyCa` before the pebble."""
    with faulty_ca_in_thread(pebble, authority, tmp_path) as one:
        yield one


@pytest.fixture
def server() -> Iterator[Callable[..., Server]]:
    """Start HTTP servers that keep what they are asked: collectors of traces."""
    made: list[Server] = []

    def make(port: int = 0, tls: ssl.SSLContext | None = None) -> Server:
        made.append(Server(port, tls))
        return made[-1]

    yield make
    for one in made:
        one.close()
