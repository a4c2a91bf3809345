"""Compiles the key `store`: where the directory is, whose it is, and what is wrong with it.

Called by the compilers of parts that keep something. A config in which nothing does so touches no disk.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from npserver.config.identity import find_group, find_user
from npserver.config.report import Path
from npserver.errors import Severity, StoreError, clip
from npserver.runtime.compilation import MAY_WRITE, PerCompilation
from npserver.store.directory import DirectoryStore
from npserver.store.files import StoreFiles, is_roots

if TYPE_CHECKING:
    from npserver.config.document import Document
    from npserver.config.schema import Config
    from npserver.runtime.compilation import Compilation

ROOTS_DIRECTORY = "/var/lib/npserver"
PATH: Path = ("store",)


def default_directory(environment: Mapping[str, str], user: int) -> str:
    """Return the directory for a config that names none: systemd's, root's, or that of the user's state."""
    if states := environment.get("STATE_DIRECTORY"):
        return states.partition(":")[0]
    if user == 0:
        return ROOTS_DIRECTORY
    base = environment.get("XDG_STATE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(base, "npserver")


def store_directory(document: Document) -> str:
    """Return the path of the directory; a relative one begins at the config file's directory."""
    named = document.config.store
    directory = named if named is not None else default_directory(os.environ, os.geteuid())
    return os.path.abspath(os.path.join(document.directory, directory))


def _compile(compilation: Compilation) -> DirectoryStore | None:
    """Return the store, whose directory exists then; None, with errors in the report, if it cannot be used."""
    directory = store_directory(compilation.document)
    if "~" in directory.split(os.sep) and compilation.config.store is None:
        compilation.report.error(PATH, 'no home directory to keep things in: write "store": "DIR"')
        return None
    owner = _owner(compilation.config)
    may_write = MAY_WRITE.of(compilation.context)
    found = list(_problems(directory, owner, may_write=may_write))
    for severity, message in found:
        (compilation.report.error if severity is Severity.ERROR else compilation.report.warn)(PATH, message)
    if any(severity is Severity.ERROR for severity, _ in found):
        return None
    store = DirectoryStore(StoreFiles(directory, owner))
    if may_write:
        try:
            store.files.make()
        except StoreError as error:
            compilation.report.error(PATH, str(error))
            return None
    return store


#: The store of a config; None if it cannot be used.
STORE: PerCompilation[DirectoryStore | None] = PerCompilation(_compile)


def _owner(config: Config) -> tuple[int, int] | None:
    """Return the user and the group that root makes the directory for; None if the process stays what it is."""
    if os.geteuid() != 0 or (config.user is None and config.group is None):
        return None
    try:
        user, group = (0, 0) if config.user is None else find_user(config.user)[2:4]
        return user, group if config.group is None else find_group(config.group)
    except ValueError:
        return None  # reported by `config.identity`


def _problems(directory: str, owner: tuple[int, int] | None, *, may_write: bool) -> Iterator[tuple[Severity, str]]:
    """Yield what is wrong with the directory, as it is. `may_write`: it is to be used, not only looked at."""
    shown = f"'store': {clip(directory)}"
    try:
        status = os.stat(directory)
    except FileNotFoundError:
        yield from _problems_above(shown, directory, owner)
        return
    except OSError as error:
        yield Severity.ERROR, f"{shown} cannot be used: {error.strerror}"
        return
    if not stat.S_ISDIR(status.st_mode):
        yield Severity.ERROR, f"{shown} is not a directory: name one, or remove the file"
        return
    user = owner[0] if owner is not None else os.geteuid()
    if owner is None and user == 0 != status.st_uid:
        # root checks configs of servers that other users run, such as the DynamicUser of a systemd unit
        belongs = f"{shown} belongs to user {status.st_uid}, who can replace the keys in it"
        remedy = f'write the "user" that npserver runs as, chown -R 0 {directory}, or name another directory'
        if may_write:
            yield Severity.ERROR, f"{belongs}, but npserver runs as root: {remedy}"
            return
        yield Severity.WARNING, f"{belongs}: a server that root starts does not use it: {remedy}"
    elif status.st_uid != user and (owner is None or not is_roots(directory)):
        reason = f"belongs to user {status.st_uid}, but npserver runs as user {user}"
        yield Severity.ERROR, f"{shown} {reason}: chown -R {user} {directory}, or name another directory"
        return
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        is_systemds = directory in os.environ.get("STATE_DIRECTORY", "").split(":")
        remedy = "StateDirectoryMode=0700 in the systemd unit" if is_systemds else f"chmod 700 {directory}"
        yield Severity.WARNING, f"{shown} is open to other users (mode {mode:04o}): {remedy}"
    if status.st_uid == os.geteuid() and not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        yield Severity.ERROR, f"{shown} cannot be written: chmod 700 {directory}, or mount it writable"
    yield from _hidden_folders(shown, os.path.dirname(directory), owner)


def _problems_above(shown: str, directory: str, owner: tuple[int, int] | None) -> Iterator[tuple[Severity, str]]:
    """Yield why a directory that does not exist cannot be made."""
    above = os.path.dirname(directory)
    while not os.path.exists(above):
        above = os.path.dirname(above)
    if not os.path.isdir(above):
        yield Severity.ERROR, f"{shown} cannot be made: {clip(above)} is not a directory"
    elif not os.access(above, os.W_OK | os.X_OK):
        yield (
            Severity.ERROR,
            f"{shown} cannot be made: no permission in {clip(above)}: make it, or name another directory",
        )
    else:
        yield from _hidden_folders(shown, above, owner)


def _hidden_folders(shown: str, above: str, owner: tuple[int, int] | None) -> Iterator[tuple[Severity, str]]:
    """Yield the first folder above the directory that the owner, another user than root, cannot pass."""
    if owner is None or owner[0] == 0:
        return
    while True:
        status = os.stat(above)
        is_owners = status.st_uid == owner[0] and status.st_mode & stat.S_IXUSR
        if not (
            is_owners or status.st_mode & stat.S_IXOTH or (status.st_gid == owner[1] and status.st_mode & stat.S_IXGRP)
        ):
            yield Severity.ERROR, f"{shown} is hidden from user {owner[0]} by {clip(above)}: name another directory"
            return
        if above == (above := os.path.dirname(above)):
            return
