"""The user and group that the config names: looked up when it is compiled, and when privileges are given up."""

from __future__ import annotations

import grp
import pwd
from typing import TYPE_CHECKING

from npserver.errors import clip

if TYPE_CHECKING:
    from npserver.config.report import Report


def check_identity(report: Report) -> None:
    """Report a `user` or `group` that does not exist."""
    config = report.document.config
    for key, name, look_up in (("user", config.user, find_user), ("group", config.group, find_group)):
        if name is not None:
            try:
                look_up(name)
            except ValueError as error:
                report.error((key,), str(error))


def find_user(name: str) -> pwd.struct_passwd:
    """Return the entry of a user, by name or number. Raises: ValueError."""
    try:
        return pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except (KeyError, OverflowError):
        raise ValueError(f"unknown user {clip(name)}: create it, or name an existing one") from None


def find_group(name: str) -> int:
    """Return the number of a group, by name or number. Raises: ValueError."""
    try:
        return (grp.getgrgid(int(name)) if name.isdigit() else grp.getgrnam(name)).gr_gid
    except (KeyError, OverflowError):
        raise ValueError(f"unknown group {clip(name)}: create it, or name an existing one") from None
