"""Tokens that prove an address."""

from __future__ import annotations

import pytest

from npserver.listen.quic.tokens import RETRY_LIFE_S, QuicTokens

PEER = ("192.0.2.1", 4711)
TOKENS = QuicTokens(b"secret")
TOKEN = TOKENS.retry(PEER, b"original", b"own", 1000)


def test_a_token_is_good_at_every_worker_for_a_while() -> None:
    assert QuicTokens(b"secret").original_id(TOKEN, PEER, b"own", 1000 + RETRY_LIFE_S) == b"original"
    assert TOKENS.original_id(TOKEN, PEER, b"own", 1001 + RETRY_LIFE_S) is None


@pytest.mark.parametrize("peer", [("192.0.2.2", 4711), ("192.0.2.1", 4712)])
def test_a_token_is_for_one_client(peer: tuple[str, int]) -> None:
    assert TOKENS.original_id(TOKEN, peer, b"own", 1000) is None


def test_other_tokens() -> None:
    for token in (b"", b"x", TOKEN[:-1], TOKEN + b"x", bytes(len(TOKEN)), TOKEN[:8] + b"x" + TOKEN[9:]):
        assert TOKENS.original_id(token, PEER, b"own", 1000) is None
    assert TOKENS.original_id(TOKEN, PEER, b"another", 1000) is None
    assert QuicTokens(b"other").original_id(TOKEN, PEER, b"own", 1000) is None


def test_reset_tokens_differ_by_connection_id() -> None:
    assert len({TOKENS.reset(b"a"), TOKENS.reset(b"b"), QuicTokens(b"x").reset(b"a")}) == 3
    assert TOKENS.reset(b"a") == QuicTokens(b"secret").reset(b"a")
