"""Compiles `basic_auth` into middleware."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.errors import clip
from npserver.web.checks import CONTROL, rule_key
from npserver.web.middleware.basic_auth.check import PasswordCheck
from npserver.web.middleware.basic_auth.passwords import parse_hash

if TYPE_CHECKING:
    from npserver.config.report import Path
    from npserver.runtime.compilation import Compilation
    from npserver.web.config import HttpRule


def compile_basic_auth(compilation: Compilation, path: Path, rule: HttpRule) -> PasswordCheck | None:
    """Make the check of a rule's `basic_auth`. Errors stand in the report."""
    auth, report = rule.basic_auth, compilation.report
    if auth is None:
        return None
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
    return PasswordCheck(users, auth.realm, rule_key(path, "basic_auth"))
