"""nginx's `location` blocks: which there are, and inside which. Used by `importing.server`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct, field

from npserver.importing.directives import Directive
from npserver.importing.draft import Draft
from npserver.importing.expressions import path_regex
from npserver.importing.scope import Scope
from npserver.importing.texts import NoCounterpart

_PATH = re.compile(r"/[^*\s\x00-\x1f\\?#]*")


class Location(Struct):
    """A `location` block."""

    directive: Directive
    scope: Scope
    kind: str  # "prefix", "exact", "regex", "named"
    pattern: str  # the path without a slash at the end; of a regular expression the one for our `path_regex`
    is_final: bool = False  # `^~`: no regular expressions
    outer: Location | None = None  # the one that this one stands in
    excepted: tuple[str, ...] = ()  # prefixes where a regular expression does not hold
    inside: str = ""  # the expression that holds there instead

    @property
    def written(self) -> str:
        """What nginx compares."""
        return self.directive.args[-1]

    @property
    def leaves(self) -> list[Directive]:
        """The directives of its block, without those of the locations in it."""
        return [one for one in self.directive.block or [] if one.name != "location"]

    def has(self, name: str) -> bool:
        """Whether its block has a directive."""
        return bool(self.scope.here(name))


class Locations(Struct):
    """The locations of a server."""

    regex: list[Location] = field(default_factory=list)
    exact: dict[str, Location] = field(default_factory=dict)
    prefixes: dict[str, Location] = field(default_factory=dict)
    named: dict[str, Location] = field(default_factory=dict)

    @property
    def php(self) -> Scope | None:
        """The block that runs PHP; None if there is none."""
        return next((one.scope for one in self.regex if "php" in one.written and one.has("fastcgi_pass")), None)

    @property
    def has_applications(self) -> bool:
        """Whether requests are passed on, with their paths, to what may take `%2F` for a slash."""
        all_of_them = [*self.regex, *self.exact.values(), *self.prefixes.values(), *self.named.values()]
        return any(one.has("proxy_pass") for one in all_of_them)

    def expressions_for(self, prefix: str) -> Iterator[Location]:
        """Yield the regular expressions that are tried for the paths below a prefix, in their order.

        Those inside its location come first, then those beside it unless it has `^~`, then those beside the location
        around it.
        """
        here = self.prefixes.get(prefix)
        yield from (one for one in self.regex if here is not None and one.outer is here)
        while here is not None and not here.is_final:
            around = here.outer
            yield from (one for one in self.regex if one.outer is around)
            here = around
        if prefix not in self.prefixes:
            yield from (one for one in self.regex if one.outer is None)

    def find(self, path: str) -> Location | None:
        """Return the location of a path, without regard to regular expressions."""
        if path in self.exact:
            return self.exact[path]
        fitting = [one for one in self.prefixes.values() if path.startswith(one.written)]
        return max(fitting, key=lambda one: len(one.written), default=None)


def locations_of(scope: Scope, draft: Draft) -> Locations:
    """Return the locations in a server's block, and in these."""
    found = Locations()
    for one in _read(scope, draft, None):
        if one.kind == "regex":
            found.regex.append(one)
        elif one.kind == "named":
            found.named[one.pattern] = one
        elif one.kind == "exact":
            found.exact.setdefault(one.pattern, one)
        elif (other := found.prefixes.get(one.pattern)) is None:
            found.prefixes[one.pattern] = one
        else:  # `/app` and `/app/`
            bare, slashed = (other, one) if one.written.endswith("/") else (one, other)
            found.prefixes[one.pattern] = slashed
            if bare.written != slashed.written:
                found.exact.setdefault(bare.pattern, bare)
                draft.comments.append(f"{bare.directive.place}: {bare.directive.text[:80]}: only {bare.pattern}")
    return found


def _read(scope: Scope, draft: Draft, outer: Location | None) -> Iterator[Location]:
    for one in scope.here("location"):
        if one.used:
            continue
        one.used = True
        modifier, pattern = (one.args[0], one.args[1]) if len(one.args) == 2 else ("", one.args[0])
        inner = scope.inner(one.block or [])
        try:
            location = _location(one, inner, modifier, pattern, outer)
        except NoCounterpart as error:
            draft.comments.append(draft.lose(one, str(error)))
            mark(one.block or [])
            continue
        yield location
        yield from _read(inner, draft, location)


def _location(one: Directive, scope: Scope, modifier: str, pattern: str, outer: Location | None) -> Location:
    """Return the location of a directive. Raises: NoCounterpart."""
    if modifier in ("~", "~*"):
        found = path_regex(pattern, any_case=modifier == "~*")
        return Location(one, scope, "regex", found.text, outer=outer, excepted=found.excepted, inside=found.inside)
    if pattern.startswith("@"):
        return Location(one, scope, "named", pattern)
    if not _PATH.fullmatch(pattern):
        raise NoCounterpart("not a path")
    if modifier == "=":
        return Location(one, scope, "exact", pattern, outer=outer)
    return Location(one, scope, "prefix", pattern.rstrip("/"), modifier == "^~", outer=outer)


def mark(directives: list[Directive]) -> None:
    """Mark directives, and those in their blocks, as used."""
    for one in directives:
        one.used = True
        mark(one.block or [])
