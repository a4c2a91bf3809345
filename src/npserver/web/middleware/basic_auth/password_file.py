"""The password files of `basic_auth`: read when a config is compiled, and again when they have changed.

The controller looks at the files once a second, and tells all processes of those that have changed. A file that
cannot be used any more changes nothing: the users of its last good content stay, and a log line says so. Files that
workers may not read are supplied by the master, as those of certificates are (`tls.files`), and read again at a reload.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from npserver.errors import reason_of
from npserver.runtime.context import PerProcess
from npserver.runtime.tasks import spawn
from npserver.tls.store import CERTIFICATES
from npserver.web.middleware.basic_auth.htpasswd import StoredHash, parse_htpasswd

if TYPE_CHECKING:
    from npserver.runtime.context import Context
    from npserver.tls.files import FileState, TlsFiles

log = logging.getLogger("npserver.http")

TOPIC = "basic_auth:changed"  # its values are lists of the files that have a new good content
GOOD = "basic_auth:good:"  # topics of files by path: their last good content, for processes that start later
PERIOD_S = 1.0  # between two checks of the files


class PasswordFile:
    """One file as a process knows it."""

    __slots__ = ("__weakref__", "_files", "content", "path", "problem", "state", "users")

    def __init__(self, path: str, files: TlsFiles) -> None:
        self._files = files
        self.path = path
        self.users: dict[str, StoredHash] = {}  # replaced, never changed
        self.problem = ""  # why the content at hand cannot be used
        self.content = b""  # of the users in force
        self.state: FileState = (-1, 0, 0)

    def __repr__(self) -> str:
        return f"<PasswordFile {self.path} {len(self.users)} users>"

    def has_changed(self) -> bool:
        """Return whether the file is another than the one read last."""
        return self._files.state(self.path) != self.state

    def load(self) -> None:
        """Read the file. One that cannot be used leaves the users as they are, and sets `problem`."""
        state = self._files.state(self.path)
        try:
            self.take(self._files.read(self.path))
        except OSError as error:
            self.problem = reason_of(error)
        except ValueError as error:
            self.problem = str(error)
        self.state = state

    def take(self, content: bytes) -> None:
        """Use a content. Raises: ValueError if it is not good."""
        self.users, self.problem, self.content = parse_htpasswd(content), "", content


#: The password files of a process by path, for as long as a rule uses them.
FILES: PerProcess[WeakValueDictionary[str, PasswordFile]] = PerProcess(lambda context: WeakValueDictionary())


def _follow(context: Context) -> Callable[[], None]:
    files = FILES.of(context)

    def changed(paths: Any) -> None:
        latest = context.pubsub.latest
        told = [(files[path], latest[GOOD + path].encode()) for path in paths if path in files]
        if told:
            spawn(asyncio.to_thread(_take, told), "reading password files", None)

    return context.pubsub.subscribe(TOPIC, changed)


#: The subscription of a process, which has the users that the controller tells it.
FOLLOWING = PerProcess(_follow)


def password_file(context: Context, path: str, compiled: dict[str, Any]) -> PasswordFile:
    """Return the file at an absolute path, read as it is now.

    `compiled`: of the config's document; has what the master read, for workers that start when the file is unusable.
    """
    files = FILES.of(context)
    file = files.get(path)
    if file is None:
        file = files[path] = PasswordFile(path, CERTIFICATES.of(context).files)
    file.load()
    key = f"users:{path}"
    told = context.pubsub.latest.get(GOOD + path)
    old = compiled.get(key) if told is None else told.encode()
    if not file.problem:
        compiled.setdefault(key, file.content)
    elif old is not None:
        log.warning("%s cannot be used, the old users stay: %s (basic_auth.file)", path, file.problem)
        file.take(old)
    FOLLOWING.of(context)
    return file


def _take(told: list[tuple[PasswordFile, bytes]]) -> None:
    """Use what the controller has read, not the file, which may have changed again: all workers have the same users."""
    for file, content in told:
        file.take(content)


class PasswordFileWatch:
    """The service that watches the files, in the controller."""

    __slots__ = ("_context", "_found")

    def __init__(self, context: Context) -> None:
        self._context = context
        self._found: list[PasswordFile] = []

    def __repr__(self) -> str:
        return f"<PasswordFileWatch {self._found}>"

    def add(self, file: PasswordFile) -> None:
        """Watch a file."""
        if file not in self._found:
            self._found.append(file)

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            await asyncio.to_thread(self._look)
            await asyncio.sleep(PERIOD_S)

    def _look(self) -> None:
        good = []
        for file in [one for one in self._found if one.has_changed()]:
            file.load()
            if file.problem:
                log.warning(
                    "%s changed but cannot be used, the old users stay: %s (basic_auth.file)",
                    file.path,
                    file.problem,
                )
            else:
                log.info("%s changed and was read: %d users (basic_auth.file)", file.path, len(file.users))
                good.append(file)
        loop, pubsub = self._context.loop, self._context.pubsub
        for file in good:
            loop.call_soon_threadsafe(pubsub.publish, GOOD + file.path, file.content.decode())
        if good:
            loop.call_soon_threadsafe(pubsub.publish, TOPIC, [file.path for file in good])
