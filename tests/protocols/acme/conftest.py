"""Fixtures of the tests of ACME.

pebble   a CA, one for each module
strict   one whose accounts need an external account, `kid` with `MAC_KEY`
serving  the value of `tls` that npserver has while it has no certificate of the CA
ca       a `FaultyCa` before the pebble
solver   answers challenges over HTTP, in an npserver at the ports where the pebble looks
client   a function: `client(**settings)`, whose CA is the faulty one
kept     managers that keep certificates valid, with a clock that the test moves
serve    a function: `serve(application, **on_demand)` serves https with certificates on demand, without a CA
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from npserver.tls.acme.challenges import ChallengeKind
from npserver.tls.acme.client.acme_client import AcmeClient
from tests.stage.acme import MAC_KEY, PublishingSolver, proving, settings, store
from tests.stage.faulty_ca import FaultyCa, running_faulty_ca
from tests.stage.keeping import Kept, keeping
from tests.stage.on_demand import Serve
from tests.stage.on_demand import serving as serving_on_demand
from tests.stage.pebble import Pebble, running_pebble


@pytest.fixture(scope="module")
def pebble(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA) -> Iterator[Pebble]:
    with running_pebble(tmp_path_factory.mktemp("ca") / "pebble", authority) as one:
        yield one


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA) -> Iterator[Pebble]:
    with running_pebble(tmp_path_factory.mktemp("strict") / "pebble", authority, {"kid": MAC_KEY}) as one:
        yield one


@pytest.fixture
def serving(certificates: Callable[..., Any]) -> dict[str, str]:
    found: dict[str, str] = certificates().config
    return found


@pytest.fixture
async def ca(pebble: Pebble, authority: trustme.CA, tmp_path: Path) -> AsyncIterator[FaultyCa]:
    async with running_faulty_ca(pebble, authority, tmp_path) as one:
        yield one


@pytest.fixture
async def solver(pebble: Pebble, serving: dict[str, str]) -> AsyncIterator[PublishingSolver]:
    async with proving(pebble, serving, ChallengeKind.HTTP_01) as one:
        yield one


@pytest.fixture
def client(pebble: Pebble, ca: FaultyCa, tmp_path: Path) -> Callable[..., AcmeClient]:
    def make(**more: Any) -> AcmeClient:
        return AcmeClient(settings(pebble, **{"directory": ca.url, **more}), store(tmp_path / "store"))

    return make


@pytest.fixture
async def kept(pebble: Pebble, tmp_path: Path, certificates: Callable[..., Any]) -> AsyncIterator[Kept]:
    async with keeping(pebble, tmp_path, certificates) as one:
        yield one


@pytest.fixture
def serve(tmp_path: Path, certificates: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> Serve:
    """Return `serve(application, **on_demand)`, an async context manager."""
    caplog.set_level(logging.DEBUG, "npserver")
    return lambda application, **on_demand: serving_on_demand(application, tmp_path, certificates, **on_demand)
