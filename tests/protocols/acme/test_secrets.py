"""Keys are in no log line and in no exception, whatever fails: greps all that is said."""

from __future__ import annotations

import json
import logging
import re
from base64 import b64encode, urlsafe_b64decode
from pathlib import Path

import pytest
import trustme

from npserver.tls.acme.client.account import Account, store_name
from npserver.tls.acme.client.acme_client import AcmeClient
from npserver.tls.acme.problems import AcmeError
from tests.stage.acme import MAC_KEY, NAME, proving, settings, store
from tests.stage.faulty_ca import FAILURES, STEPS, running_faulty_ca
from tests.stage.pebble import Pebble
from tests.stage.programs import needs
from tests.stage.secrets import leaks, private_values

pytestmark = needs("pebble")


@pytest.mark.parametrize("failure", [one for one in FAILURES if one != "hangs"])
async def test_no_log_line_and_no_exception_has_a_key(
    tmp_path: Path,
    authority: trustme.CA,
    strict: Pebble,
    serving: dict[str, str],
    caplog: pytest.LogCaptureFixture,
    failure: str,
) -> None:
    """Whatever fails, and at the level of debug, also of the packages that are used."""
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    async with running_faulty_ca(strict, authority, tmp_path) as ca, proving(strict, serving) as solver:
        given = settings(strict, directory=ca.url, eab_key_id="kid", eab_key=MAC_KEY)
        client = AcmeClient(given, store(tmp_path / "store"))
        issued = await client.order([NAME], solver)
        for step in STEPS.values():
            ca.answers = {step: FAILURES[failure][0]}
            try:
                await client.order([NAME], solver)
            except AcmeError as error:
                chain: list[BaseException | None] = [error, error.__cause__, error.__context__]
                said += [f"{one} {one!r} {vars(one) if one is not None else ''}" for one in chain]
    account = Account(**json.loads((tmp_path / "store" / store_name(ca.url)).read_bytes()))
    text = "\n".join([*said, caplog.text, repr(client), repr(issued), repr(given), repr(account)])
    assert NAME in text
    assert "JWS payload" in caplog.text  # `acme` has said what it does
    keys = [*private_values(account.key.encode()), *private_values(issued.key)]
    assert leaks([*keys, urlsafe_b64decode(f"{MAC_KEY}=="), MAC_KEY.encode()], text) == []
    assert "PRIVATE KEY" not in text


def test_a_secret_would_be_found() -> None:
    secret = bytes(range(200, 232))
    pieces = [b64encode(b"x" * before + secret + b"yz").decode() for before in range(3)]
    pieces += [pieces[0][:24], secret.hex()[10:42], "\\n".join(re.findall(".{8}", pieces[1])), repr({"key": secret})]
    assert [bool(leaks([secret], text)) for text in pieces] == [True] * 7
    assert leaks([secret], pieces[0][:12]) == []
