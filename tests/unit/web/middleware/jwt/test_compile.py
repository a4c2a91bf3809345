"""`jwt` compiled: what is said about mistakes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwk

from npserver.config.load import load_text
from npserver.errors import ConfigError
from npserver.process.dry_run import dry_run
from npserver.runtime.scoreboard import Directory

KEYS = {"keys": "https://idp.test/keys", "audience": "app"}
SECRET = {"secret": "hunter2" * 5, "audience": "app"}


@pytest.fixture(autouse=True)
def no_loop() -> Iterator[None]:
    yield
    asyncio.set_event_loop(None)


def problems(directory: Path, jwt: dict[str, Any], *others: dict[str, Any], **rule: Any) -> list[str]:
    """Return what the compilation of a rule with this `jwt`, and of others, says."""
    config = {
        "listen": ["http://127.0.0.1:0"],
        "store": str(directory / "store"),
        "dispatch": [{"handler": "respond", "jwt": jwt, **rule}, *others],
    }
    text = json.dumps(config, indent=1)
    try:
        found = dry_run(load_text(text, str(directory / "config")), Directory()).warnings
    except ConfigError as error:
        found = error.problems
    return [str(one) for one in found if not one.message.startswith("'store' is not used")]


@pytest.mark.parametrize(
    ("jwt", "message"),
    [
        ({}, "'jwt' needs either 'keys' or 'secret'"),
        ({**KEYS, **SECRET}, "'jwt' needs either 'keys' or 'secret', not both"),
        ({"keys": "https://idp.test/keys"}, "without 'audience', tokens that the issuer made for other applications"),
        ({"secret": "hunter2", "audience": "app"}, "'secret' has fewer than 32 bytes"),
        ({**KEYS, "algorithms": ["HS256"]}, "HS256 needs 'secret'"),
        ({**SECRET, "algorithms": ["RS256"]}, "RS256 needs 'keys'"),
        ({**KEYS, "algorithms": ["none"]}, "expected"),
        ({**KEYS, "keys": "ftp://idp.test/keys"}, "'keys': "),
        ({**KEYS, "keys": "http://idp.test/keys"}, "could replace keys sent over http"),
        ({**KEYS, "keys": "none.json"}, "'keys': cannot read 'none.json': no such file"),
        ({**KEYS, "keys": "empty.json"}, "'keys': cannot use 'empty.json': no usable key"),
        ({**KEYS, "cookie": "a b"}, "'a b' is not a valid cookie name"),
        ({**KEYS, "claims": {"X User": "sub"}}, "'X User' is not a valid header name"),
        ({**KEYS, "claims": {"Authorization": "sub"}}, "'Authorization' cannot hold a claim"),
        ({**KEYS, "claims": {"X_Real_IP": "sub"}}, "'X_Real_IP' cannot hold a claim"),
        ({**KEYS, "claims": {"X-A": "sub", "x-a": "sub"}}, "'x-a' is given twice"),
        ({**KEYS, "claims": {"X-A": ""}}, "'X-A' needs the name of a claim"),
        ({**KEYS, "claims": {"X-A": "$jwt.sub"}}, "'$jwt.sub' is a variable, not a claim: write the name alone"),
        (
            {**KEYS, "keys": "ec.json", "algorithms": ["RS256", "ES384"]},
            "none of them is of the keys in 'ec.json', which have ES256",
        ),
        ({**KEYS, "leewai": 5}, "unknown key 'leewai' in 'jwt'; did you mean 'leeway'?"),
        ({**KEYS, "refresh": 0}, "must be above 0"),
    ],
)
def test_each_mistake_is_named_once_and_in_its_place(jwt: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "empty.json").write_text('{"keys": []}')
    key = jwk.ECKey.generate_key("P-256").as_dict(private=False)
    (tmp_path / "ec.json").write_text(json.dumps({"keys": [key]}))
    said = problems(tmp_path, jwt)
    assert len(said) == 1, said
    assert message in said[0]
    assert "hunter2" not in said[0]
    assert f"{tmp_path / 'config'}:" in said[0]


def test_passwords_and_bearers_share_a_field(tmp_path: Path) -> None:
    users = {"joe": "$scrypt$ln=1,r=1,p=1$" + "A" * 22 + "$" + "A" * 43}
    (said,) = problems(tmp_path, KEYS, basic_auth={"users": users})
    assert "both read Authorization" in said


def test_what_is_right_is_not_remarked_on(tmp_path: Path) -> None:
    key = jwk.ECKey.generate_key("P-256").as_dict(private=False)
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [key]}))
    file = {**KEYS, "keys": "keys.json"}
    for jwt in (
        KEYS,
        SECRET,
        file,
        {**file, "algorithms": ["RS256", "ES256"]},
        {**KEYS, "keys": "http://127.0.0.1:1/keys"},
    ):
        assert problems(tmp_path, {**jwt, "claims": {"X-User": "sub"}, "issuer": "https://idp.test"}) == []


def test_rules_with_the_same_keys_share_how_they_are_fetched(tmp_path: Path) -> None:
    second = {"handler": "respond", "path": "/b", "jwt": KEYS}
    assert problems(tmp_path, KEYS, second) == []
    (said,) = problems(tmp_path, KEYS, {**second, "jwt": {**KEYS, "refresh": 5}})
    assert "an earlier rule has the same" in said
