"""When a silent target is asked for a sign of life (`http2.ping_interval`). Pure: the connection sends the PING."""

from __future__ import annotations

PING_AGAIN_S = 300.0  # between PINGs while nothing else comes: servers of gRPC end connections with more


class Liveness:
    """What a connection has heard of its target; times are loop times."""

    # heard_at    of the last bytes
    # is_asked    a PING has been sent, and no byte has come since
    # _spoke_at   when the target last sent anything of a response
    # _asked_at   of the last PING; 0 before the first

    __slots__ = ("_asked_at", "_interval_s", "_spoke_at", "heard_at", "is_asked")

    def __init__(self, interval_s: float, now: float) -> None:
        """`interval_s`: how long a target may be silent; 0: for ever."""
        self._interval_s = interval_s
        self.heard_at = self._spoke_at = now
        self._asked_at = 0.0
        self.is_asked = False

    def heard(self, now: float) -> None:
        """Bytes have come."""
        self.heard_at = now
        self.is_asked = False

    def spoke(self) -> None:
        """They were of a response."""
        self._spoke_at = self.heard_at

    def asked(self, now: float) -> None:
        """A PING has been sent."""
        self._asked_at = now
        self.is_asked = True

    def due_at(self) -> float:
        """Return when the next PING is due, if nothing comes; never: infinity."""
        interval_s = self._interval_s
        if not interval_s:
            return float("inf")
        is_quiet = self._asked_at > self._spoke_at  # nothing but answers to PINGs has come since
        return max(
            self.heard_at + interval_s, self._asked_at + (max(interval_s, PING_AGAIN_S) if is_quiet else interval_s)
        )
