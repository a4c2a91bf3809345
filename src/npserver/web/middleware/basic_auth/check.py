"""Basic authentication (RFC 7617): the check of a name and a password before a rule's handler.

Checking a password is slow on purpose. It is done in a thread, once for each name and password that wait for it at the
same time, and accepted ones are cached.
"""

from __future__ import annotations

import asyncio
import binascii
import logging
import os
from base64 import b64decode
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING

from npserver.web.exchange import Middleware

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from npserver.web.exchange import Exchange
    from npserver.web.middleware.basic_auth.htpasswd import StoredHash
    from npserver.web.middleware.basic_auth.password_file import PasswordFile

log = logging.getLogger("npserver.http")

CACHED_LOGINS = 1024
MAX_CHECKS = 64  # passwords being checked or waiting for it; more are turned away


class PasswordCheck(Middleware):
    """Lets clients pass by name and password."""

    def __init__(
        self,
        users: Mapping[str, StoredHash],
        realm: str,
        key: str = "",
        file: PasswordFile | None = None,
        on_failure: Callable[[str], None] | None = None,  # called with the address of a client whose login failed
    ) -> None:
        self._on_failure = on_failure
        quoted = realm.replace("\\", "\\\\").replace('"', '\\"')
        self._users = self._own = dict(users)
        self._file = file
        self._decoy = _slowest(self._users)
        self._known: dict[str, StoredHash] = {}  # the users of the file that are among `_users`
        self._challenge = f'WWW-Authenticate: Basic realm="{quoted}", charset="UTF-8"\r\n'.encode()
        self._key = key
        self._secret = os.urandom(32)
        self._good: dict[bytes, str] = {}  # keyed digests of Authorization values to the user's name
        self._checks: dict[bytes, list[Exchange]] = {}  # under way, with those who wait for the result
        self._executor: ThreadPoolExecutor | None = None

    def request(self, exchange: Exchange) -> None:
        """Let the request pass, answer 401, or check the password first."""
        value = exchange.request.fields.get(b"authorization")
        if value is None:
            exchange.fail(401, "no credentials", self._key, self._challenge)
            return
        if self._file is not None and self._file.users is not self._known:
            self._take_users(self._file.users)
        digest = blake2b(value, key=self._secret, digest_size=32).digest()
        user = self._good.get(digest)
        if user is not None:
            exchange.user = user
            exchange.proceed()
            return
        if (waiting := self._checks.get(digest)) is not None:
            waiting.append(exchange)
            return
        login = parse_basic(value)
        if login is None:
            exchange.fail(401, "no Basic credentials", self._key, self._challenge)
        elif len(self._checks) >= MAX_CHECKS:
            exchange.fail(503, "too many passwords to check", self._key, b"Retry-After: 1\r\n")
        else:
            self._check(exchange, digest, *login)

    def _take_users(self, users: dict[str, StoredHash]) -> None:
        """Use the users of the file, which has changed, and accept nothing any more by what it was before."""
        self._known = users
        self._users = {**users, **self._own}
        self._decoy = _slowest(self._users)
        self._good = {}
        self._checks = {}

    def _check(self, exchange: Exchange, digest: bytes, user: str, password: str) -> None:
        good, checks = self._good, self._checks
        checks[digest] = [exchange]
        if self._executor is None:
            from concurrent.futures import ThreadPoolExecutor

            self._executor = ThreadPoolExecutor(1, "npserver-passwords")  # one: a flood of guesses takes one core

        def done(future: asyncio.Future[bool]) -> None:
            waiting = checks.pop(digest)
            if future.cancelled():
                return
            if (error := future.exception()) is not None:
                log.error("cannot check a password", exc_info=error)
            is_good = error is None and future.result()
            if is_good:
                if len(good) >= CACHED_LOGINS:
                    del good[next(iter(good))]
                good[digest] = user
            for one in waiting:
                if error is None and not is_good and self._on_failure is not None:
                    self._on_failure(one.client_ip)
                if one.is_gone:
                    continue
                if is_good:
                    one.user = user
                    one.proceed()
                else:
                    one.fail(401, "wrong name or password", self._key, self._challenge)

        loop = exchange.context.loop
        loop.run_in_executor(self._executor, _verify, self._users.get(user), self._decoy, password).add_done_callback(
            done
        )


def _verify(stored: StoredHash | None, decoy: StoredHash | None, password: str) -> bool:
    if stored is not None:
        return stored.verify(password)
    if decoy is not None:  # so that an unknown name takes as long as a known one
        decoy.verify(password)
    return False


def _slowest(users: Mapping[str, StoredHash]) -> StoredHash | None:
    """Return a hash of the kind that takes the longest to check; None if there are no users."""
    return max(users.values(), key=lambda stored: stored.rank, default=None)


def parse_basic(value: bytes) -> tuple[str, str] | None:
    """Read an Authorization field: name and password, None if it holds none (RFC 7617 §2)."""
    scheme, _, token = value.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        text = b64decode(token.strip(b" "), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return None
    user, colon, password = text.partition(":")
    return (user, password) if colon else None
