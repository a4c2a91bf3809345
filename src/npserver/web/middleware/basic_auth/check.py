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
from collections.abc import Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING

from npserver.web.exchange import Middleware

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from npserver.web.exchange import Exchange
    from npserver.web.middleware.basic_auth.passwords import PasswordHash

log = logging.getLogger("npserver.http")

CACHED_LOGINS = 1024
MAX_CHECKS = 64  # passwords being checked or waiting for it; more are turned away


class PasswordCheck(Middleware):
    """Lets clients pass by name and password."""

    def __init__(self, users: Mapping[str, PasswordHash], realm: str, key: str = "") -> None:
        quoted = realm.replace("\\", "\\\\").replace('"', '\\"')
        self._users = dict(users)
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

    def _check(self, exchange: Exchange, digest: bytes, user: str, password: str) -> None:
        self._checks[digest] = [exchange]
        if self._executor is None:
            from concurrent.futures import ThreadPoolExecutor

            self._executor = ThreadPoolExecutor(1, "npserver-passwords")  # one: a flood of guesses takes one core

        def done(future: asyncio.Future[bool]) -> None:
            waiting = self._checks.pop(digest)
            if future.cancelled():
                return
            if (error := future.exception()) is not None:
                log.error("cannot check a password", exc_info=error)
            is_good = error is None and future.result()
            if is_good:
                if len(self._good) >= CACHED_LOGINS:
                    del self._good[next(iter(self._good))]
                self._good[digest] = user
            for one in waiting:
                if one.is_gone:
                    continue
                if is_good:
                    one.user = user
                    one.proceed()
                else:
                    one.fail(401, "wrong name or password", self._key, self._challenge)

        loop = exchange.context.loop
        loop.run_in_executor(self._executor, self._verify, user, password).add_done_callback(done)

    def _verify(self, user: str, password: str) -> bool:
        stored = self._users.get(user)
        if stored is not None:
            return stored.verify(password)
        for other in self._users.values():  # so that an unknown name takes as long as a known one
            other.verify(password)
            break
        return False


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
