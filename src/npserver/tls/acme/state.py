"""What is kept in the store of each certificate that a CA issues, and where."""

from __future__ import annotations

from hashlib import sha256

import msgspec
from msgspec import Struct

from npserver.tls.acme.schedule import EARLY, Failures, Window, chance_of, renew_at

MAX_TRIED = 4  # settings that may fail within a delay before all others wait: who mends a config tries a few


class LeftRecord(Struct, frozen=True):
    """A TXT record at another name server."""

    record: str  # the name that the CA asks for
    text: str


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
    issued_at: float = 0.0  # by our clock
    early: Failures = Failures()  # renewals in a row soon after the one before: by a wrong clock, or a wrong CA
    failed_kinds: int = 0  # of challenges, before the one to begin with
    broken_off: int = 0  # attempts in a row that did not end, because the process did
    left: tuple[LeftRecord, ...] = ()  # by the last of them
    tried: tuple[str, ...] = ()  # digests of the settings that have failed since a delay was last waited for

    @property
    def is_issued(self) -> bool:
        """Whether there is a certificate."""
        return bool(self.directory)

    def due_at(self, now: float, settings: str) -> float:
        """Return when the next attempt to get a certificate is due. `settings`: as for `next_try`."""
        if not self.is_issued:
            return self.next_try(now, settings)
        due = renew_at(self.not_before, self.not_after, self.window, chance_of(self.id))
        if self.failures.count:
            due = max(due, self.next_try(now, settings))
        return max(due, self.early.next_try(now)) if self.early.count else due

    def next_try(self, now: float, settings: str) -> float:
        """Return when failures allow the next attempt: now, if these settings have not failed yet.

        `settings`: of `Wanted`. A config that is mended is tried at once; one that comes again, or the next of many,
        waits: a program that is reloaded in a loop stays below the limits of the CA.
        """
        if settings not in self.tried and len(self.tried) < MAX_TRIED:
            return now
        return self.failures.next_try(now)

    def after_failure(self, now: float, chance: float, settings: str, error: str, retry_after_s: float | None) -> State:
        """Return the state after one more failure. `chance`, `retry_after_s`: as for `Failures.after`."""
        has_waited = self.failures.next_try(now) <= now
        return msgspec.structs.replace(
            self,
            failures=self.failures.after(now, chance, retry_after_s),
            error=error,
            tried=(settings,) if has_waited else (*self.tried, settings),
        )

    def is_early(self, now: float) -> bool:
        """Whether a renewal now is an early one."""
        return self.is_issued and 0 <= now - self.issued_at < EARLY * (self.not_after - self.not_before)


class Wanted(Struct, frozen=True):
    """A certificate of the config."""

    name: str  # in the store
    names: tuple[str, ...]
    key: str  # the config key, for the log
    settings: str = ""  # the digest of those that decide about its orders

    def __str__(self) -> str:
        """Return the names as the log shows them."""
        shown = ", ".join(self.names[:3])
        return shown if len(self.names) <= 3 else f"{shown} and {len(self.names) - 3} more"

    @property
    def certificate_key(self) -> str:
        """Where the store keeps the chain and the private key, one value so that they always belong together."""
        return f"acme/certificates/{self.name}.pem"

    @property
    def state_key(self) -> str:
        """Where the store keeps the state."""
        return f"acme/states/{self.name}.json"


def digest_of(*settings: object) -> str:
    """Return a text that is another one for other settings of an order; no secret can be read from it."""
    return sha256(msgspec.json.encode(settings)).hexdigest()[:24]
