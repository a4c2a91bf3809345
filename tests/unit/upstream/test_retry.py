"""Failures after which a request may be tried at another target."""

from __future__ import annotations

import pytest

from npserver.errors import Phase
from npserver.upstream.retry import RetryPolicy, classify, is_stale


class TestRetry:
    """After sending, only what is idempotent (RFC 9110 §9.2.2)."""

    @pytest.mark.parametrize(
        ("phase", "timeout", "word"),
        [
            (Phase.RESOLVE, False, "connect"),
            (Phase.DIAL, True, "connect"),
            (Phase.SEND, False, "send"),
            (Phase.SEND, True, "timeout"),
            (Phase.RECEIVE, False, "send"),
            (Phase.RECEIVE, True, "timeout"),
        ],
    )
    def test_a_failure_has_its_word(self, phase: Phase, timeout: bool, word: str) -> None:
        assert classify(phase, timeout=timeout) == word

    @pytest.mark.parametrize(
        ("failure", "attempts", "repeatable", "sent", "allowed"),
        [
            ("connect", 1, False, False, True),
            ("connect", 3, True, False, False),
            ("send", 1, True, True, True),
            ("send", 1, False, True, False),
            ("send", 1, False, False, True),
            ("timeout", 1, True, True, False),
            ("502", 1, True, True, False),
        ],
    )
    def test_the_default_policy_repeats_what_is_safe(
        self, failure: str, attempts: int, repeatable: bool, sent: bool, allowed: bool
    ) -> None:
        assert RetryPolicy().allows(failure, attempts, repeatable=repeatable, sent=sent) is allowed

    def test_a_configured_policy_is_obeyed(self) -> None:
        policy = RetryPolicy(1, frozenset({"502", "timeout"}))
        assert policy.allows("502", 1, repeatable=True, sent=True)
        assert policy.allows("timeout", 1, repeatable=True, sent=True)
        assert not policy.allows("502", 1, repeatable=False, sent=True)
        assert not policy.allows("connect", 1, repeatable=True, sent=False)
        assert not RetryPolicy(0).allows("connect", 1, repeatable=True, sent=False)

    @pytest.mark.parametrize(
        ("reused", "answered", "timeout", "repeatable", "sent", "stale"),
        [
            (True, False, False, True, True, True),
            (False, False, False, True, True, False),
            (True, True, False, True, True, False),
            (True, False, True, True, True, False),
            (True, False, False, False, True, False),
            (True, False, False, False, False, True),
        ],
    )
    def test_a_stale_connection_is_told_from_a_failure(
        self, reused: bool, answered: bool, timeout: bool, repeatable: bool, sent: bool, stale: bool
    ) -> None:
        found = is_stale(reused=reused, answered=answered, timeout=timeout, repeatable=repeatable, sent=sent)
        assert found is stale
