"""Tokens and key sets of any kind are refused with the documented error, and nothing else is raised."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from npserver.web.middleware.jwt.key_set import make_keys, public_keys
from npserver.web.middleware.jwt.token import TokenError, verify
from tests.unit.web.middleware.jwt.test_token import EC, KEYS, NOW, RULES, b64, signed

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
HEADERS = st.fixed_dictionaries({}, optional=dict.fromkeys(("alg", "kid", "typ", "crit", "jwk"), VALUES))
GOOD = signed(header={"alg": "ES256", "kid": "ec"}, key=EC)
KEY = EC.as_dict(private=False)


@given(st.text() | st.from_regex(r"[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}", fullmatch=True))
def test_any_text(text: str) -> None:
    with suppress(TokenError):
        verify(text, KEYS, RULES, NOW)
        raise AssertionError(text)


@given(HEADERS, VALUES)
def test_any_header_and_claims(header: dict[str, Any], claims: Any) -> None:
    text = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}.{b64(b'x')}"
    with suppress(TokenError):
        verify(text, KEYS, RULES, NOW)
        raise AssertionError(text)


@given(VALUES)
def test_any_claims_that_are_signed(claims: Any) -> None:
    with suppress(TokenError):
        verify(signed(json.dumps(claims).encode(), {"alg": "ES256", "kid": "ec"}, EC), KEYS, RULES, NOW)


@given(st.integers(0, len(GOOD) - 1), st.characters(codec="ascii"))
def test_no_changed_token_comes_in(place: int, character: str) -> None:
    """But for the bits of the last character of a part that base64 does not use."""
    changed = GOOD[:place] + character + GOOD[place + 1 :]
    try:
        claims, _ = verify(changed, KEYS, RULES, NOW)
    except TokenError:
        return
    assert claims["sub"] == "ann"
    assert changed == GOOD or place == len(GOOD) - 1


@given(st.binary(max_size=60) | VALUES.map(lambda one: json.dumps({"keys": one}).encode()))
def test_any_key_set(data: bytes) -> None:
    with suppress(ValueError):
        make_keys(public_keys(data))


@given(st.sampled_from(sorted(KEY)), VALUES)
def test_any_member_of_a_key(name: str, value: Any) -> None:
    with suppress(ValueError):
        make_keys(public_keys(json.dumps({"keys": [{**KEY, name: value}]}).encode()))
