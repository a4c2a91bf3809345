"""Compiles a rate limit: of `rate_limit` in a rule, a rate, the name of an entry of `rate_limits`, or an object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from npserver.config.report import key_of
from npserver.errors import clip
from npserver.guess import get_close_matches
from npserver.limits.client_key import client_key
from npserver.limits.config import RateLimit
from npserver.limits.limiter import RateLimiter
from npserver.limits.rate import Rate, parse_rate
from npserver.runtime.compilation import PerCompilation

if TYPE_CHECKING:
    from collections.abc import Callable

    from npserver.config.report import Path
    from npserver.runtime.compilation import Compilation

#: By the place of an inline limit, what tells it from others; it stays the same when rules are added elsewhere.
_IDENTITIES: PerCompilation[dict[Path, str]] = PerCompilation(lambda _: {})
#: How many inline limits there are of rules that look the same.
_ALIKE: PerCompilation[dict[str, int]] = PerCompilation(lambda _: {})


class CompiledLimit(Struct, frozen=True):
    """A rate limit of a rule, ready to be counted."""

    section: RateLimit
    rate: Rate
    place: Path  # of the section, or of the rate that stands for one
    decided_by: str  # the config keys, for the log
    name: str  # for counters: of the entry, or of the rule
    identity: str

    def limiter(
        self, compilation: Compilation, to_key: Callable[[str], str] = str, *, is_of_datagrams: bool = False
    ) -> RateLimiter:
        """Make the limiter of this process."""
        row = compilation.context.row
        return RateLimiter(row, self.rate, self.name, self.identity, to_key, is_of_datagrams=is_of_datagrams)

    def client_key(self, ip: str) -> str:
        """Return the address of an IPv4 client, or the network of an IPv6 client by `ipv6_prefix`."""
        return client_key(ip, self.section.ipv6_prefix)


def compile_limit(
    compilation: Compilation, path: Path, value: str | RateLimit | None, rule: object, rule_name: str = ""
) -> CompiledLimit | None:
    """Compile the limit at `path` in a rule; None if it is none, or has errors, which stand in the report.

    `rule` identifies the rule after a reload: its listeners, hosts and path; `rule_name` names it in counters, by
    default `dispatch[3]`.
    """
    if value is None:
        return None
    config = compilation.config
    if isinstance(value, str) and value in config.rate_limits:
        place: Path = ("rate_limits", value)
        section = config.rate_limits[value]
        decided_by, name, identity = f"{key_of(path)}, {key_of(place)}", value, f"name {value}"
    elif isinstance(value, str) and not _is_rate(value):
        compilation.report.error(path, _unknown(value, list(config.rate_limits)))
        return None
    else:
        place = path
        section = RateLimit(rate=value) if isinstance(value, str) else value
        decided_by, name = key_of(path), rule_name or key_of(path[:-1])
        identity = _identity(compilation, path, rule)
    rate = _rate(compilation, (*place, "rate") if not isinstance(value, str) or place is not path else path, section)
    if rate is None:
        return None
    identity = "\0".join((identity, section.rate, str(rate.burst), section.key, str(section.ipv6_prefix)))
    return CompiledLimit(section, rate, place, decided_by, name, identity)


def check_rate_limits(compilation: Compilation) -> None:
    """Report what is wrong in `rate_limits`, in entries that no rule names too."""
    for name, section in compilation.config.rate_limits.items():
        place: Path = ("rate_limits", name)
        if _is_rate(name) or not name:
            compilation.report.error(place, f"a name must not look like a rate, got {clip(name)}")
        _rate(compilation, (*place, "rate"), section)


def _rate(compilation: Compilation, place: Path, section: RateLimit) -> Rate | None:
    try:
        rate = parse_rate(section.rate, section.burst)
    except ValueError as error:
        compilation.report.error(place, str(error))
        return None
    if rate is None:
        compilation.report.warn(
            place, f"a rate of {clip(section.rate)} is no limit: all pass; to refuse all, use 'deny'"
        )
    return rate


def _is_rate(text: str) -> bool:
    return "/" in text or text.strip().isdigit()


def _unknown(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, 1)
    if close:
        return f"unknown rate limit {clip(name)}, did you mean {close[0]!r}?"
    hint = "" if known else ' (no "rate_limits" are defined)'
    return f'unknown rate limit {clip(name)}{hint}; a rate is written as "10/s"'


def _identity(compilation: Compilation, path: Path, rule: object) -> str:
    """Return what identifies an inline limit; of rules that look the same, their order tells them apart."""
    known = _IDENTITIES.of(compilation)
    if path not in known:
        text, alike = f"rule {rule!r}", _ALIKE.of(compilation)
        known[path] = f"{text} {alike.setdefault(text, 0)}"
        alike[text] += 1
    return known[path]
