"""Compiles `basic_auth` into the check of names and passwords."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npserver.errors import clip
from npserver.network_sets.events import LEARNING
from npserver.runtime.compilation import PerCompilation
from npserver.web.checks import CONTROL, rule_key
from npserver.web.middleware.basic_auth.check import PasswordCheck
from npserver.web.middleware.basic_auth.passwords import parse_hash

if TYPE_CHECKING:
    from npserver.config.report import Path
    from npserver.runtime.compilation import Compilation
    from npserver.web.config import HttpRule
    from npserver.web.middleware.basic_auth.config import BasicAuth
    from npserver.web.middleware.basic_auth.password_file import PasswordFile, PasswordFileWatch


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
    file = _compile_file(compilation, (*path, "basic_auth", "file"), auth)
    if not auth.users and file is None:
        report.warn((*path, "basic_auth", "users"), "'users' is empty, and there is no 'file': nobody can come in")
    if CONTROL.search(auth.realm):
        report.error((*path, "basic_auth", "realm"), "'realm' holds a control character")
    return PasswordCheck(users, auth.realm, rule_key(path, "basic_auth"), file, LEARNING.of(compilation).hook("login"))


def _make_watch(compilation: Compilation) -> PasswordFileWatch:
    from npserver.web.middleware.basic_auth.password_file import PasswordFileWatch

    watch = PasswordFileWatch(compilation.context)
    compilation.services.append(watch)
    return watch


_WATCH = PerCompilation(_make_watch)


def _compile_file(compilation: Compilation, path: Path, auth: BasicAuth) -> PasswordFile | None:
    if auth.file is None:
        return None
    from npserver.web.middleware.basic_auth.password_file import password_file

    document = compilation.document
    file = password_file(compilation.context, document.resolve(auth.file), document.compiled)
    if file.problem:
        compilation.report.error(path, f"'file': cannot use {clip(auth.file)}: {file.problem}")
    elif not file.users and not auth.users:
        compilation.report.warn(path, f"'file': {clip(auth.file)} has no users: nobody can come in until it has")
    _WATCH.of(compilation).add(file)
    return file
