"""When a secondary asks its primary again: by the SOA of the zone (RFC 1035 §3.3.13), within sane bounds. Pure."""

from __future__ import annotations

from msgspec import Struct

from npserver.dns.message import codes
from npserver.dns.zone.content import Content

#: Bounds in seconds. A refresh of 0 would ask without a pause, one of weeks would miss changes.
MIN_REFRESH_S, MAX_REFRESH_S = 30.0, 86_400.0
MIN_RETRY_S, MAX_RETRY_S = 10.0, 7200.0
MIN_EXPIRE_S = 3600.0
FIRST_RETRY_S, LAST_FIRST_RETRY_S = 1.0, 60.0  # of a zone that has not been transferred yet; doubled each time


class Timers(Struct, frozen=True):
    """The times of a zone, in seconds."""

    refresh_s: float
    retry_s: float
    expire_s: float

    @classmethod
    def of(cls, content: Content, apex: bytes) -> Timers:
        """Return those that the SOA says, within bounds."""
        _, (soa,) = content[apex][codes.SOA]
        refresh, retry, expire = (int.from_bytes(soa[at : at + 4], "big") for at in (-16, -12, -8))
        refresh_s = min(max(float(refresh), MIN_REFRESH_S), MAX_REFRESH_S)
        retry_s = min(max(float(retry), MIN_RETRY_S), MAX_RETRY_S)
        return cls(refresh_s, retry_s, max(float(expire), MIN_EXPIRE_S, refresh_s + retry_s))


def first_retry_s(failures: int) -> float:
    """Return the pause after so many failures of a zone that has never been there."""
    return min(FIRST_RETRY_S * 2.0 ** min(failures - 1, 10), LAST_FIRST_RETRY_S)
