"""Decides when a certificate is renewed, when to ask the CA about it, and when to try again after a failure.

Pure: the clock and chance are arguments. Times are seconds since 1970 of a wall clock that may jump: every decision is
made again at each call, from times that were stored, so that a jump costs at most one call. A stored time that the
clock cannot have come from, as it lies too far ahead, is from before the clock was put back, and counts as past.

Renewal information is RFC 9773 (ARI). Without it a certificate is renewed at two thirds of its life, whether that is 6
days or 398. The back-off stays below the limits of Let's Encrypt, which are the strictest of the public CAs: 5 failed
validations per name and hour, 300 new orders per account and 3 hours.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode

from msgspec import Struct

RENEW_AT = 2 / 3  # of the life
RENEW_BEFORE = 0.9  # of the life: no window of a CA postpones a renewal past it
EARLY = 0.1  # of the life: a renewal within it is an early one, the next of which has to wait

DAY_S = 86_400.0
ASK_AGAIN_S = 6 * 3600.0  # RFC 9773 §4.3.2: when the answer has no Retry-After
ASK_AGAIN_MIN_S, ASK_AGAIN_MAX_S = 60.0, DAY_S  # RFC 9773 §4.3.2: the limits to set

FIRST_RETRY_S = 300.0  # doubled by each failure: failures at 0, 5, 15 and 35 minutes are four in the first hour
LAST_RETRY_S = DAY_S
JITTER = 0.25  # of the delay, added to it: many names that fail at once are not tried again at once

ORDERS, ORDERS_PERIOD_S = 250, 3 * 3600.0  # below 300 in 3 hours: a few are left for the operator's own attempts


class Window(Struct, frozen=True):
    """When the CA suggests to renew a certificate (RFC 9773 §4.2)."""

    start: float
    end: float
    explanation_url: str = ""  # a page for people, if the CA says why

    @property
    def is_valid(self) -> bool:
        """Whether it ends after it starts, as it must; another is ignored."""
        return self.end > self.start


def certificate_id(authority_key_id: bytes, serial: int) -> str:
    """Return the name by which the CA is asked about a certificate (RFC 9773 §4.1).

    `authority_key_id`: the keyIdentifier of the certificate's authority key identifier.
    """
    number = serial.to_bytes(serial.bit_length() // 8 + 1, "big", signed=True)  # as DER has it: with a bit for the sign
    return ".".join(urlsafe_b64encode(part).decode().rstrip("=") for part in (authority_key_id, number))


def chance_of(name: str) -> float:
    """Return a number in [0, 1) that is always the same for `name`, such as the id of a certificate.

    Restarts and other instances come to the same time within a window; the times of many certificates are even.
    """
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big") / (1 << 48)


def renew_at(not_before: float, not_after: float, window: Window | None, chance: float) -> float:
    """Return when to renew a certificate; a time that has passed means now.

    `chance`, in [0, 1), chooses the time within the window.
    """
    life = max(0.0, not_after - not_before)
    if window is None or not window.is_valid:
        return not_before + life * RENEW_AT
    chosen = window.start + (window.end - window.start) * chance
    return min(chosen, not_before + life * RENEW_BEFORE)


def wait_s(at: float, now: float, most_s: float = 3600.0) -> float:
    """Return how long to sleep until `at`, at most `most_s`: a clock that jumps meanwhile is noticed by then."""
    return min(max(0.0, at - now), most_s)


def is_to_ask(ask_at: float, now: float) -> bool:
    """Whether the CA is to be asked about a certificate; `ask_at` was at most `ASK_AGAIN_MAX_S` ahead when stored."""
    return not now < ask_at <= now + ASK_AGAIN_MAX_S


def ask_again_s(retry_after_s: float | None) -> float:
    """Return in how many seconds to ask the CA about a certificate again (RFC 9773 §4.3.2)."""
    if retry_after_s is None:
        return ASK_AGAIN_S
    return min(max(retry_after_s, ASK_AGAIN_MIN_S), ASK_AGAIN_MAX_S)


class Failures(Struct, frozen=True):
    """The failed attempts in a row for one certificate, or its early renewals, as they are stored."""

    count: int = 0
    last: float = 0.0  # when the latest attempt failed
    delay_s: float = 0.0  # how long to wait from then on

    def after(self, now: float, chance: float, retry_after_s: float | None = None) -> Failures:
        """Return them with one more failure. `retry_after_s`: the CA's Retry-After."""
        delay = FIRST_RETRY_S * 2.0 ** min(self.count, 20)
        delay = min(delay, LAST_RETRY_S) * (1 + JITTER * chance)
        if retry_after_s is not None:
            delay = max(delay, min(retry_after_s, LAST_RETRY_S))
        return Failures(self.count + 1, now, delay)

    def next_try(self, now: float) -> float:
        """Return when the next attempt may begin: now, if the clock was put back far past the latest failure."""
        if not self.count or self.last > now + self.delay_s:
            return now
        return min(self.last + self.delay_s, now + LAST_RETRY_S * (1 + JITTER))  # it may have been put back a little


class OrderBudget:
    """How many orders an account may still make: `limit` in any `period_s` seconds."""

    __slots__ = ("_limit", "_period_s", "_times")

    def __init__(self, limit: int = ORDERS, period_s: float = ORDERS_PERIOD_S) -> None:
        self._limit = limit
        self._period_s = period_s
        self._times: list[float] = []

    def __repr__(self) -> str:
        return f"<OrderBudget {len(self._times)} of {self._limit}>"

    def wait_s(self, now: float) -> float:
        """Return in how many seconds the next order may be made: 0 if it may now."""
        self._forget(now)
        if len(self._times) < self._limit:
            return 0.0
        return self._times[-self._limit] + self._period_s - now

    def spend(self, now: float) -> None:
        """Count an order."""
        self._forget(now)
        self._times.append(now)

    def _forget(self, now: float) -> None:
        """Drop what has left the period. Orders that lie in the future, as the clock was put back, count as of now."""
        self._times = [min(time, now) for time in self._times if time > now - self._period_s]
