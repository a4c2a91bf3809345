"""Files with the key of a name server."""

from __future__ import annotations

import subprocess

import pytest

from npserver.dns.message.tsig_file import KeyText, parse_file, parse_secret
from tests.stage.programs import find, needs

BIND = """
// made for tests
key "npserver." {
    algorithm HMAC-SHA512; # the longest
    secret "a//b+c==";  /* key "other" { } */
};
"""


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("c2VjcmV0\n", KeyText("c2VjcmV0")),
        (BIND, KeyText("a//b+c==", "npserver.", "hmac-sha512")),
        ("key k {secret c2VjcmV0;};", KeyText("c2VjcmV0", "k")),
    ],
)
def test_the_forms_of_a_key(text: str, key: KeyText) -> None:
    assert parse_file(text) == key
    assert key.secret not in repr(key)


@needs("tsig-keygen")
def test_what_bind_writes() -> None:
    made = subprocess.run(
        [find("tsig-keygen") or "", "-a", "hmac-sha384", "npserver"], capture_output=True, text=True, check=True
    )
    key = parse_file(made.stdout)
    assert (key.name, key.algorithm) == ("npserver", "hmac-sha384")
    assert len(parse_secret(key.secret)) == 48


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it holds neither a secret"),
        ("two words", "it holds neither a secret"),
        ("key a { secret b; }; key c { secret d; };", "it holds 2 keys"),
        ("key a { algorithm hmac-sha256; };", "its key has no secret"),
    ],
)
def test_others_are_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_file(text)


def test_secrets_are_base64() -> None:
    assert parse_secret("c2Vj cmV0\n") == b"secret"
    for wrong in ("no base64!", "c2VjcmV", "é"):
        with pytest.raises(ValueError, match="expected the secret in base64") as failure:
            parse_secret(wrong)
        assert wrong not in str(failure.value)
        assert failure.value.__cause__ is None
    with pytest.raises(ValueError, match="empty"):
        parse_secret("")
