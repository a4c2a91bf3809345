"""Keys sign as dnspython verifies, and always the same."""

from __future__ import annotations

import pytest

from npserver.nameserver.dnssec.keys import ALGORITHMS, load_key, make_key


@pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=list(ALGORITHMS))
def test_signatures_of_the_same_are_equal(algorithm: int) -> None:
    pem = make_key(algorithm)
    dnskey, key = load_key(algorithm, pem, is_entry_point=True)
    assert dnskey[:4] == bytes((1, 1, 3, algorithm))
    assert load_key(algorithm, pem, is_entry_point=False)[0][:4] == bytes((1, 0, 3, algorithm))
    assert key.sign(b"x") == key.sign(b"x") != key.sign(b"y")
    assert len(key.sign(b"x")) == 64


@pytest.mark.parametrize("pem", ["", "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n"])
def test_a_damaged_key_is_not_quoted(pem: str) -> None:
    with pytest.raises(ValueError, match="a private key cannot be read") as caught:
        load_key(13, pem, is_entry_point=True)
    assert "secret" not in str(caught.value)


def test_a_key_of_another_algorithm_is_refused() -> None:
    with pytest.raises(ValueError, match="not of its zone's algorithm"):
        load_key(15, make_key(13), is_entry_point=True)
