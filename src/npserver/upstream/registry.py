"""All upstreams of a process, and why targets are down: for those who show or drain targets by name.

An upstream registers itself when it is made. The controller publishes why a target is down, for the status.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet

from msgspec import Struct

from npserver.runtime.compilation import PerCompilation
from npserver.runtime.context import PerProcess

if TYPE_CHECKING:
    from npserver.runtime.context import Context

DRAINS = "upstreams:drains"  # the topic of the drains: `process.control.drains`
REASONS = "upstreams:reasons"  # the topic of why targets are down: texts by `key_of`
MAX_REASONS = 1000
MAX_TEXT = 200  # characters of a reason


class Registered(Protocol):
    """An upstream: `upstream.group.Upstream`."""

    @property
    def named(self) -> Sequence[NamedTarget]:
        """Its targets."""

    def apply_drains(self, value: dict[str, Any]) -> None:
        """Leave the targets alone that are drained, by the value of `DRAINS`."""


#: The upstreams that are in use in this process, and those of a config before that are not freed yet.
REGISTERED: PerProcess[WeakSet[Registered]] = PerProcess(lambda context: WeakSet())


class NamedTarget(Struct, frozen=True):
    """A target of a config: the upstream's name, which is `uri` for a target that stands in a rule."""

    upstream: str
    uri: str
    weight: int = 1
    is_backup: bool = False
    waits: bool = False  # whether requests can wait for a target of the upstream

    @property
    def key(self) -> str:
        """Its key in published values."""
        return key_of(self.upstream, self.uri)


def key_of(upstream: str, uri: str) -> str:
    """Return the key of a target in published values."""
    return f"{upstream} {uri}"


def drained_targets(latest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the drains by `key_of`, from the latest values of all topics."""
    drains: dict[str, Any] = (latest.get(DRAINS) or {}).get("targets", {})
    return drains


def named_targets(upstreams: Iterable[Registered]) -> tuple[NamedTarget, ...]:
    """Return the targets of upstreams, each once: rules with keys of their own have upstreams of the same targets."""
    found = {(one.upstream, one.uri): one for upstream in upstreams for one in upstream.named}
    return tuple(found[key] for key in sorted(found))


def tell_reason(context: Context, upstream: str, uri: str, reason: str) -> None:
    """Publish why a target is down; "": it is not. Called in the controller."""
    pubsub = context.pubsub
    known: dict[str, Any] = pubsub.latest.get(REASONS) or {}
    key = key_of(upstream, uri)
    others = {one: text for one, text in known.items() if one != key}
    if reason:
        others = dict(list(others.items())[-MAX_REASONS + 1 :]) | {key: reason[:MAX_TEXT]}
    if others != known:
        pubsub.publish(REASONS, others)


#: The targets of a config. It is complete when all is compiled.
TARGETS: PerCompilation[list[NamedTarget]] = PerCompilation(lambda _: [])
