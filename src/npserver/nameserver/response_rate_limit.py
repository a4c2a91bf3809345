"""Response rate limiting: a forged sender's address is not sent more equal answers than a rate (as BIND and NSD do).

Counted per client network (/24, /56) and answer; every so many-th answer beyond the rate goes out truncated, so that a
real client comes back by TCP. Pure: the time is an argument.
"""

from __future__ import annotations

from enum import Enum
from ipaddress import IPv6Address

MAX_ACCOUNTS = 50_000  # then the older half is forgotten
_MAX_NETWORKS = 10_000
_WINDOW_S = 1.0


class Verdict(Enum):
    """What to do with an answer."""

    SEND = "send"
    SLIP = "slip"  # truncated
    DROP = "drop"


class RateLimiter:
    """The accounts of one process."""

    __slots__ = ("_accounts", "_networks", "_older", "rate", "slip")

    def __init__(self, rate: int, slip: int) -> None:
        self.rate = rate
        self.slip = slip
        #: Per network and answer: the start of the second counted, and the answers in it.
        self._accounts: dict[tuple[str, bytes], list[float]] = {}
        self._older = self._accounts
        self._networks: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<RateLimiter {self.rate}/s, {len(self._accounts)} accounts>"

    def judge(self, client: str, label: bytes, now: float) -> Verdict:  # hot: dns-hits
        """Count an answer and say what to do with it."""
        key = (self._networks.get(client) or self._network(client), label)
        account = self._accounts.get(key) or self._account(key, now)
        if now - account[0] >= _WINDOW_S:
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
