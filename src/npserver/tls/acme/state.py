"""What is kept in the store of each certificate that a CA issues, and where."""

from __future__ import annotations

from msgspec import Struct

from npserver.tls.acme.schedule import Failures, Window, chance_of, renew_at


class State(Struct, frozen=True):
    """What is known of a certificate, as it is stored. Times are seconds since 1970."""

    directory: str = ""  # of the CA that issued it; "" if none has
    id: str = ""
    not_before: float = 0.0
    not_after: float = 0.0
    window: Window | None = None  # when the CA suggests to renew it
    ask_at: float = 0.0  # when to ask the CA about it again
    failures: Failures = Failures()
    error: str = ""  # of the last attempt; "" if it succeeded

    @property
    def is_issued(self) -> bool:
        """Whether there is a certificate."""
        return bool(self.directory)

    def due_at(self, now: float) -> float:
        """Return when the next attempt to get a certificate is due."""
        if not self.is_issued:
            return self.failures.next_try(now)
        renewal = renew_at(self.not_before, self.not_after, self.window, chance_of(self.id))
        return max(renewal, self.failures.next_try(now)) if self.failures.count else renewal


class Wanted(Struct, frozen=True):
    """A certificate of the config."""

    name: str  # in the store
    names: tuple[str, ...]
    key: str  # the config key, for the log

    @property
    def certificate_key(self) -> str:
        """Where the store keeps the chain and the private key, one value so that they always belong together."""
        return f"acme/certificates/{self.name}.pem"

    @property
    def state_key(self) -> str:
        """Where the store keeps the state."""
        return f"acme/states/{self.name}.json"
