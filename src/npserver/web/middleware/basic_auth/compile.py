"""Compiles `basic_auth` into middleware."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.errors import clip
from npserver.web.checks import CONTROL
from npserver.web.middleware.basic_auth.config import BasicAuth
from npserver.web.middleware.basic_auth.guard import PasswordGuard

if TYPE_CHECKING:
    from npserver.config.report import Path, Report


def compile_basic_auth(report: Report, path: Path, auth: BasicAuth, key: str) -> PasswordGuard:
    """Make the check of a rule's `basic_auth`. What is wrong with it stands in `report`."""
    from npserver.web.middleware.basic_auth.passwords import parse_hash

    users = {}
    for name, text in auth.users.items():
        try:
            if ":" in name or CONTROL.search(name):
                raise ValueError("a name must not hold colons or control characters")
            users[name] = parse_hash(text)
        except ValueError as error:
            report.error((*path, "basic_auth", "users", name), f"user {clip(name)}: {error}")
    if not auth.users:
        report.warn((*path, "basic_auth", "users"), "'users' is empty: nobody can come in")
    if CONTROL.search(auth.realm):
        report.error((*path, "basic_auth", "realm"), "'realm' holds a control character")
    return PasswordGuard(users, auth.realm, f"{key}.basic_auth")
