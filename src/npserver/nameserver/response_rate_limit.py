"""Response rate limiting (RRL), as in BIND and NSD: limit equal answers in a time and to a client network.

It keeps the server from amplifying traffic to forged sender addresses. Answers are counted per network (/24, /56)
and answer; every Nth answer above the rate (`rate_limit_slip`) is sent truncated, so that a real client retries over
TCP. Pure: the time is an argument.
"""

from __future__ import annotations

from enum import Enum
from ipaddress import IPv6Address

MAX_ACCOUNTS = 50_000  # per generation; a full generation replaces the older one
_MAX_NETWORKS = 10_000


class Verdict(Enum):
    """Whether and how an answer is sent."""

    SEND = "send"
    SLIP = "slip"  # send it truncated
    DROP = "drop"


class RateLimiter:
    """The counts of answers per client network in one process."""

    __slots__ = ("_accounts", "_networks", "_older", "_window_s", "rate", "slip")

    def __init__(self, rate: int, slip: int, window_s: float = 1.0) -> None:
        self.rate = rate
        self._window_s = window_s
        self.slip = slip
        #: Per client network and answer: start of the current window, answers in it.
        self._accounts: dict[tuple[str, bytes], list[float]] = {}
        self._older = self._accounts
        self._networks: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<RateLimiter {self.rate} in {self._window_s:g} s, {len(self._accounts)} accounts>"

    def judge(self, client: str, label: bytes, now: float) -> Verdict:  # hot: dns-hits
        """Count an answer and return whether it is sent, truncated or dropped."""
        key = (self._networks.get(client) or self._network(client), label)
        account = self._accounts.get(key) or self._account(key, now)
        if now - account[0] >= self._window_s:
            account[0] = now
            account[1] = 1
            return Verdict.SEND
        account[1] += 1
        excess = account[1] - self.rate
        if excess <= 0:
            return Verdict.SEND
        return Verdict.SLIP if self.slip and excess % self.slip == 0 else Verdict.DROP

    def _account(self, key: tuple[str, bytes], now: float) -> list[float]:
        account = self._older.pop(key, None) if self._older is not self._accounts else None
        if len(self._accounts) >= MAX_ACCOUNTS:
            self._older, self._accounts = self._accounts, {}
        self._accounts[key] = account = account or [now, 0]
        return account

    def _network(self, client: str) -> str:
        if ":" in client:
            try:
                network = IPv6Address(client).packed[:7].hex()
            except ValueError:
                network = client
        else:
            network = client.rpartition(".")[0]
        if len(self._networks) >= _MAX_NETWORKS:
            self._networks.clear()
        self._networks[client] = network
        return network
