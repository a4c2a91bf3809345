"""The public addresses of this machine, as the controller publishes them: for the status page, in any process.

`nameserver.publish` finds them out and uses them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import MsgspecError, Struct, convert

if TYPE_CHECKING:
    from npserver.runtime.pubsub import PubSub

TOPIC = "dns:published"

GIVEN, INTERFACE = "config", "interface"  # sources of addresses besides the URLs that were asked


class KnownAddress(Struct, frozen=True):
    """A public address."""

    address: str
    source: str  # GIVEN, INTERFACE, or the URL that was asked
    since: float  # when it was first known, in seconds since 1970

    @property
    def version(self) -> int:
        """The IP version: 4 or 6."""
        return 6 if ":" in self.address else 4

    @property
    def shown_source(self) -> str:
        """The source for people: of a URL no more than its host, as the rest may hold a secret."""
        return origin_of(self.source) if "://" in self.source else self.source


class _Shown(Struct, frozen=True):
    """The part of the published value that is shown."""

    public: tuple[KnownAddress, ...] = ()


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL."""
    from urllib.parse import urlsplit  # every start imports this module

    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def public_addresses(pubsub: PubSub) -> tuple[KnownAddress, ...]:
    """Return those that are published at present."""
    try:
        return convert(pubsub.latest.get(TOPIC) or {}, _Shown).public
    except MsgspecError:
        return ()


def forget_addresses(pubsub: PubSub) -> None:
    """Withdraw what a former config has published."""
    pubsub.publish(TOPIC, {})
