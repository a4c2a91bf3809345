"""The conditions of a rule: whether they hold for a request, and whether they follow from those of another rule.

Made by `web.matching.compile`. Fields, parameters and cookies are compared as an application may read them: a name in
every spelling that comes to the same variable (`X_Canary` is `X-Canary`), percent-encoded texts decoded, and where a
name comes several times, each of its values: one that is wanted is enough.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from msgspec import Struct

from npserver.http.field_names import fold

if TYPE_CHECKING:
    from npserver.http.request import Request
    from npserver.networks import Networks
    from npserver.web.matching.values import Wanted

#: Protocols that each protocol implies.
_IMPLIED = {"websocket": {"http/1.1"}}


class Asked:
    """One request as conditions see it; each part of it is read when a condition first needs it.

    `scheme`: "http" or "https", the connection's.
    """

    def __init__(self, request: Request, scheme: str) -> None:
        self.request = request
        self._scheme = scheme

    @cached_property
    def protocols(self) -> set[str]:
        """The protocols that it uses, as the config names them."""
        request = self.request
        version = "2" if request.is_http2 else "3" if request.is_http3 else f"1.{request.minor_version}"
        found = {self._scheme, f"http/{version}"}
        if request.method == "GET" and b"websocket" in [one.strip() for one in request.upgrade.split(b",")]:
            found.add("websocket")
        return found

    @cached_property
    def headers(self) -> dict[str, list[str]]:
        """The values of each field line, by the name as applications see it."""
        found: dict[str, list[str]] = {}
        for name, value in self.request.raw_fields:
            found.setdefault(fold(name.lower()).decode("latin-1"), []).append(value.decode("utf-8", "replace"))
        return found

    @cached_property
    def parameters(self) -> dict[str, list[str]]:
        """The values of each parameter of the query, decoded."""
        found: dict[str, list[str]] = {}
        for pair in self.request.query.split("&"):
            name, _, value = pair.partition("=")
            if pair:
                found.setdefault(unquote_plus(name), []).append(unquote_plus(value))
        return found

    @cached_property
    def cookies(self) -> dict[str, list[str]]:
        """The values of each cookie; those of several fields count as one list (RFC 9113 §8.2.3)."""
        found: dict[str, list[str]] = {}
        for pair in self.request.fields.get(b"cookie", b"").decode("utf-8", "replace").split(";"):
            name, mark, value = pair.partition("=")
            value = value.strip(" \t")
            if len(value) > 1 and value[0] == value[-1] == '"':
                value = value[1:-1]
            if mark:
                found.setdefault(name.strip(" \t"), []).append(value)
        return found


class Terms(Struct, frozen=True):
    """Conditions that are to hold together. Empty ones ask for nothing."""

    methods: frozenset[str] = frozenset()
    headers: tuple[Wanted, ...] = ()
    queries: tuple[Wanted, ...] = ()
    cookies: tuple[Wanted, ...] = ()
    protocols: frozenset[str] = frozenset()
    networks: Networks | None = None

    @property
    def values(self) -> tuple[tuple[Wanted, ...], ...]:
        """What is asked for by name."""
        return self.headers, self.queries, self.cookies

    @property
    def is_empty(self) -> bool:
        """Whether nothing is asked for."""
        return self == Terms()

    def hold_for_head(self, asked: Asked) -> bool:
        """Return whether all but `networks` hold."""
        return (
            (not self.methods or asked.request.method in self.methods)
            and (not self.protocols or not self.protocols.isdisjoint(asked.protocols))
            and (not self.headers or all(one.holds(asked.headers.get(one.name)) for one in self.headers))
            and (not self.queries or all(one.holds(asked.parameters.get(one.name)) for one in self.queries))
            and (not self.cookies or all(one.holds(asked.cookies.get(one.name)) for one in self.cookies))
        )

    def hold_for_address(self, client_ip: str) -> bool:
        """Return whether the address is in `networks`."""
        return self.networks is None or client_ip in self.networks

    def follow_from(self, other: Terms) -> bool:
        """Return whether these surely hold wherever `other` do."""
        if self.methods and not (other.methods and other.methods <= self.methods):
            return False
        if self.protocols and not (other.protocols and all(_fits(one, self.protocols) for one in other.protocols)):
            return False
        if self.networks is not None and not (other.networks is not None and self.networks.includes(other.networks)):
            return False
        return all(
            any(theirs.name == mine.name and mine.follows_from(theirs) for theirs in others)
            for wanted, others in zip(self.values, other.values, strict=True)
            for mine in wanted
        )

    def exclude(self, other: Terms) -> bool:
        """Return whether these surely do not hold where `other` do."""
        if self.methods and other.methods and self.methods.isdisjoint(other.methods):
            return True
        return any(
            mine.name == theirs.name and mine.is_there is not theirs.is_there
            for wanted, others in zip(self.values, other.values, strict=True)
            for mine in wanted
            for theirs in others
        )


class Conditions(Struct, frozen=True):
    """The conditions of a rule: `wanted` must hold, none of `unwanted` may."""

    wanted: Terms = Terms()
    unwanted: tuple[Terms, ...] = ()

    @property
    def needs_address(self) -> bool:
        """Whether they depend on the client's address."""
        return self.wanted.networks is not None or any(one.networks is not None for one in self.unwanted)

    def may_hold(self, asked: Asked) -> bool:
        """Return whether the head of a request leaves them possible, whatever the address."""
        return self.wanted.hold_for_head(asked) and not any(
            one.networks is None and one.hold_for_head(asked) for one in self.unwanted
        )

    def hold(self, asked: Asked, client_ip: str) -> bool:
        """Return whether they hold for a request that `may_hold`."""
        return self.wanted.hold_for_address(client_ip) and not any(
            one.networks is not None and one.hold_for_address(client_ip) and one.hold_for_head(asked)
            for one in self.unwanted
        )

    def follow_from(self, other: Conditions) -> bool:
        """Return whether these surely hold wherever `other` do."""
        return self.wanted.follow_from(other.wanted) and all(
            mine.exclude(other.wanted) or any(theirs.follow_from(mine) for theirs in other.unwanted)
            for mine in self.unwanted
        )

    @property
    def contradict(self) -> bool:
        """Whether they can never hold: `unwanted` has what `wanted` asks for."""
        return any(one.follow_from(self.wanted) for one in self.unwanted)


def _fits(protocol: str, wanted: frozenset[str]) -> bool:
    return protocol in wanted or not wanted.isdisjoint(_IMPLIED.get(protocol, ()))
