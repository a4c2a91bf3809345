"""No object of a running process has a secret in its `repr`, and a change of the session ticket keys tells none.

What is logged, raised or shown in a debugger is often a `repr`. All objects of npserver are looked at that can be
reached from the data plane of a server with certificates from files, of the local authority, and of a CA.
"""

from __future__ import annotations

import gc
import logging
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import npserver
from npserver.tls.store import CERTIFICATES
from npserver.tls.ticket_keys import ROTATION_S, derive
from npserver.tls.watch import CertificateWatch
from npserver.web.middleware.basic_auth.passwords import parse_hash
from tests.stage.passwords import quick_hash
from tests.stage.secrets import keys_below, leaks, lock, private_values

MAC_KEY = "dGhlLW1hYy1rZXktb2YtYW4tZXh0ZXJuYWwtYWNjb3VudC1vZi1hLXByb2dyYW0"
PASSPHRASE = "the-passphrase-of-a-private-key"
HASH = quick_hash("password")
_NOT_FOLLOWED = (type, types.ModuleType, types.FrameType, types.BuiltinFunctionType)


def objects(start: object) -> Iterator[object]:
    """Yield all instances of npserver's classes that can be reached from an object, by way of any others."""
    seen, waiting = {id(start)}, [start]
    while waiting:
        one = waiting.pop()
        if type(one).__module__.startswith("npserver"):
            yield one
        for other in gc.get_referents(one):
            # The globals of functions are all modules, with the tests among them
            is_globals = isinstance(one, types.FunctionType) and other is one.__globals__
            if id(other) not in seen and not is_globals and not isinstance(other, _NOT_FOLLOWED):
                seen.add(id(other))
                waiting.append(other)


async def test_no_repr_of_an_object_has_a_secret(
    certificates: Callable[..., Any], tmp_path: Path, free_port: Callable[[], int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    supplied = certificates("own.example.test")
    keys = private_values(supplied.key.read_bytes())
    acme = {
        "directory": f"https://127.0.0.1:{free_port()}/dir",
        "challenge": ["http"],
        "eab_key_id": "kid",
        "eab_key": MAC_KEY,
    }
    config = {
        "store": str(tmp_path / "store"),
        "listen": ["https://127.0.0.1:0"],
        "tls": [
            {**supplied.config, "key_passphrase": str(lock(supplied.key, PASSPHRASE))},
            {"acme": acme, "names": ["down.example.test"]},
            {"internal": True, "names": ["nas.home"]},
        ],
        "dispatch": [
            {"handler": "respond", "body": "x", "basic_auth": {"users": {"joe": HASH}}},
            {"handler": "status"},
        ],
    }
    async with npserver.serve(config, shutdown_s=0) as server:
        plane = server._single.data_plane
        context = plane.context
        before = CERTIFICATES.of(context).secrets
        context.wall_clock = lambda: before.made_at + ROTATION_S + 1
        CertificateWatch(context).look()
        after = CERTIFICATES.of(context).secrets
        assert after.previous == before.current
        assert "session ticket keys replaced" in caplog.text
        found = list(objects(plane))
        text = "\n".join([*map(repr, found), caplog.text])
        derived = [
            derive(secret, one._identity)
            for secret in (after.current, after.previous)
            for one in CERTIFICATES.of(context).loaded.values()
        ]
    kinds = {type(one).__name__ for one in found}
    assert {"Context", "Document", "Acme", "AcmeService", "AcmeSettings", "LoadedCertificate", "TlsFiles"} <= kinds
    assert {"BasicAuth", "PasswordHash", "TicketSecrets", "PubSub", "StatePublisher"} <= kinds
    secrets = {
        "keys": [*keys, *keys_below(tmp_path / "store")],
        "tickets": [after.current, after.previous, *derived],
        "config": [MAC_KEY.encode(), PASSPHRASE.encode(), HASH.rpartition("$")[2].encode(), parse_hash(HASH).digest],
    }
    assert {kind: pieces for kind, values in secrets.items() if (pieces := leaks(values, text))} == {}
    assert "PRIVATE KEY" not in text
