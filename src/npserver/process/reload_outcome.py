"""The outcome of a reload, as it is logged and as `npserver reload` is told it over the control socket."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from msgspec import Struct

from npserver.config.report import key_of

if TYPE_CHECKING:
    from npserver.config.document import Document
    from npserver.config.report import Path

log = logging.getLogger("npserver.server")


class ReloadOutcome(Struct, frozen=True):
    """The outcome: succeeded, failed, or, with errors and `is_in_use`, incomplete."""

    errors: list[str] = []
    warnings: list[str] = []
    is_in_use: bool = False  # whether the new config has replaced the old one
    included: int = 0  # the number of files that the new config includes

    @property
    def summary(self) -> str:
        """The outcome in one line."""
        if not self.errors:
            return f"config reloaded{with_included(self.included)}"
        if self.is_in_use:
            return "reload incomplete: the new configuration is in use, but not every process switched to it in order"
        return "reload failed: keeping the current configuration"

    def log(self) -> None:
        """Log the outcome."""
        for line in self.warnings:
            log.warning("%s", line)
        for line in self.errors:
            log.error("%s", line)
        log.log(logging.ERROR if self.errors else logging.INFO, "%s", self.summary)


def with_included(number: int) -> str:
    """Return how the number of included files is told after what has been done with a config."""
    return f", with {number} included file{'' if number == 1 else 's'}" if number else ""


def switch_error(error: Exception) -> str:
    """Return why switching to a new config failed; an internal error is logged with its traceback."""
    if isinstance(error, OSError) and error.strerror:
        return f"cannot switch to the new config: {error.strerror.lower()}"
    log.error("internal error while switching to the new config", exc_info=error)
    return f"internal error while switching to the new config: {error!r}"


def unchangeable(old: Document, new: Document) -> list[str]:
    """Return a warning for each changed key that a reload cannot apply."""
    changed: list[Path] = [
        (key,) for key in ("workers", "user", "group") if getattr(new.config, key) != getattr(old.config, key)
    ]
    if new.config.limits.rate_limit_keys != old.config.limits.rate_limit_keys:
        changed.append(("limits", "rate_limit_keys"))
    return [
        f'{new.place(path)}: "{key_of(path)}" cannot be changed by a reload: restart npserver to apply it'
        for path in changed
    ]
