"""The state of each certificate: who issued it, until when it is valid, when it is renewed, and what failed last.

The controller knows the states: `tls.acme.service` and `tls.renewal` report theirs to `STATES`, those of files are read
from the loaded certificates. `StatePublisher` sends the most urgent to all processes, as any may be asked for the
status page: `web.handlers.status` shows what `published` returns. No key is in a state.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal, TypeVar

from msgspec import Struct, convert, field, to_builtins

from npserver.runtime.compilation import PerCompilation
from npserver.tls.watch import TOPIC as CHANGED_TOPIC

if TYPE_CHECKING:
    from npserver.runtime.compilation import Compilation
    from npserver.runtime.pubsub import PubSub
    from npserver.tls.certificates import LoadedCertificate

TOPIC = "tls:states"
MAX_SHOWN = 100  # certificates that are published; there may be many thousands
MAX_FAILING = 50  # of these, at most, are there because of a failure: the others are the next to expire
MAX_NAMES = 10  # of one certificate
MAX_TIME = 253_402_300_799.0  # the end of the year 9999
MAX_TEXT = 300  # characters of an error or an issuer, which are texts of a CA
COALESCE_S = 0.2  # changes within this time are published together
AWAITED_S = 10.0  # after a reload, until what is not yet known is left out

Source = Literal["acme", "internal", "file"]
T = TypeVar("T")


class CertificateState(Struct, frozen=True):
    """What is known of a certificate. Times are seconds since 1970."""

    source: Source
    names: tuple[str, ...]
    issuer: str = ""  # of `acme` the URL of the CA's directory, of others the name in the certificate
    file: str = ""  # of `file` its path
    issued: float = 0.0  # from when it is valid; 0: the CA has not issued it yet, the local authority's is used
    expires: float = 0.0  # as `issued`
    renew_at: float = 0.0  # when the next attempt to get or renew it is due; 0: npserver does not renew it
    failures: int = 0  # in a row; 0: the last attempt succeeded
    error: str = ""  # of the last attempt
    more_names: int = 0  # that were left out

    def bounded(self) -> CertificateState:
        """Return it as it is published: texts on one line and of limited length, times that a calendar can show."""
        return CertificateState(
            self.source, tuple(_line(name) for name in self.names[:MAX_NAMES]), _line(self.issuer), _line(self.file),
            _time(self.issued), _time(self.expires), _time(self.renew_at), self.failures, _line(self.error),
            max(0, len(self.names) - MAX_NAMES),
        )  # fmt: skip


class Count(Struct, frozen=True):
    """How many certificates of one source there are."""

    all: int = 0
    failing: int = 0


class PublishedStates(Struct, frozen=True):
    """The states that all processes know: the most urgent, and how many there are."""

    shown: tuple[CertificateState, ...] = ()
    counts: dict[Source, Count] = field(default_factory=dict)


class Renewal(Struct, frozen=True):
    """How the renewal of a certificate of the local authority stands."""

    renew_at: float
    failures: int = 0
    error: str = ""


_NOT_RENEWED = Renewal(0.0)


class CertificateStates:
    """The states of one config: what services report of theirs, and the certificates that are loaded from files.

    `changed` is set by each report that differs from the one before. `awaited` are those that are yet to be reported.
    """

    __slots__ = ("awaited", "changed", "issued", "loaded", "renewals")

    def __init__(self) -> None:
        self.issued: dict[str, CertificateState] = {}  # of CAs, by their names in the store
        self.renewals: dict[str, Renewal] = {}  # of the local authority, by the files of the certificates
        self.loaded: dict[str, tuple[Source, LoadedCertificate]] = {}  # of listeners, by file; without those of CAs
        self.awaited: set[str] = set()  # keys of `issued` and `renewals`
        self.changed = asyncio.Event()

    def __repr__(self) -> str:
        return f"<CertificateStates {len(self.issued)} of CAs, {len(self.loaded)} of files>"

    def report(self, name: str, state: CertificateState) -> None:
        """Set the state of a CA's certificate."""
        self._set(self.issued, name, state)

    def report_renewal(self, file: str, renewal: Renewal) -> None:
        """Set how the renewal of a certificate of the local authority stands."""
        self._set(self.renewals, file, renewal)

    def forget(self, name: str) -> None:
        """Remove a CA's certificate that is not wanted any more."""
        if self.issued.pop(name, None) is not None:
            self.changed.set()

    def all(self) -> Iterator[CertificateState]:
        """Return the states of all certificates."""
        yield from self.issued.values()
        for file, (source, loaded) in self.loaded.items():
            certificate = loaded.certificate
            renewal = self.renewals.get(file, _NOT_RENEWED) if source == "internal" else _NOT_RENEWED
            error = loaded.problem or renewal.error
            yield CertificateState(
                source,
                certificate.names,
                certificate.issuer,
                file if source == "file" else "",
                certificate.not_before.timestamp(),
                certificate.not_after.timestamp(),
                renewal.renew_at,
                renewal.failures or (1 if error else 0),
                error,
            )

    def _set(self, states: dict[str, T], key: str, state: T) -> None:
        if states.get(key) != state or key in self.awaited:
            states[key] = state
            self.awaited.discard(key)
            self.changed.set()


#: The states of the certificates of a config.
STATES = PerCompilation(lambda compilation: CertificateStates())


class StatePublisher:
    """The service that publishes the states."""

    __slots__ = ("_pubsub", "_states")

    def __init__(self, pubsub: PubSub, states: CertificateStates) -> None:
        self._pubsub = pubsub
        self._states = states

    def __repr__(self) -> str:
        return f"<StatePublisher of {self._states}>"

    async def run(self) -> None:
        """Run until cancelled."""
        pubsub, states = self._pubsub, self._states
        forget = pubsub.subscribe(CHANGED_TOPIC, lambda files: states.changed.set())
        try:
            if TOPIC in pubsub.latest:  # those of the config before are better than some of this one
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(AWAITED_S):
                        while states.awaited:
                            states.changed.clear()
                            await states.changed.wait()
            while True:
                states.changed.clear()
                pubsub.publish(TOPIC, to_builtins(select([*states.all()])))
                await states.changed.wait()
                await asyncio.sleep(COALESCE_S)
        finally:
            forget()


def _publisher(compilation: Compilation) -> StatePublisher:
    made = StatePublisher(compilation.context.pubsub, STATES.of(compilation))
    compilation.services.append(made)
    return made


#: The service of a config, which is there where the compiler of something that shows the states asks for it.
PUBLISHER = PerCompilation(_publisher)


def select(states: Sequence[CertificateState]) -> PublishedStates:
    """Return the most urgent states, failures first, then the next to expire; and the number of all."""
    urgent = sorted(states, key=lambda one: (not one.failures, one.expires, one.names))
    failing = sum(1 for one in states if one.failures)
    first, rest = urgent[: min(failing, MAX_FAILING)], urgent[min(failing, MAX_FAILING) :]
    rest.sort(key=lambda one: (one.expires, one.names))
    counts = {
        source: Count(
            sum(1 for one in states if one.source == source),
            sum(1 for one in states if one.source == source and one.failures),
        )
        for source in dict.fromkeys(one.source for one in states)
    }
    shown = [one.bounded() for one in (*first, *rest[: MAX_SHOWN - len(first)])]
    return PublishedStates(tuple(shown), counts)


def published(pubsub: PubSub) -> PublishedStates:
    """Return the states that were published last; none before the first time."""
    value = pubsub.latest.get(TOPIC)
    return PublishedStates() if value is None else convert(value, PublishedStates)


def _line(text: str) -> str:
    printable = "".join(char if char.isprintable() else " " for char in text[: MAX_TEXT * 2])
    return " ".join(printable.split())[:MAX_TEXT]


def _time(seconds: float) -> float:
    return min(max(0.0, seconds), MAX_TIME)
