"""The check of `jwt`: lets requests pass that show a valid token.

Tokens that have been verified are cached until they end, or until the keys change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from npserver.http.field_names import fold
from npserver.upstream.sticky import find_cookie
from npserver.web.checks import CONTROL
from npserver.web.exchange import Middleware
from npserver.web.middleware.jwt.token import TokenError, TokenRules, verify
from npserver.web.signed_in import claim_text, sign_in

if TYPE_CHECKING:
    from npserver.http.request import Request
    from npserver.runtime.scoreboard import Row
    from npserver.web.exchange import Exchange
    from npserver.web.middleware.jwt.key_set import VerifyingKey
    from npserver.web.middleware.jwt.key_source import KeySource

CACHED_TOKENS = 1024
_CHALLENGE = b'WWW-Authenticate: Bearer realm="npserver"'


class JwtSettings(Struct, frozen=True, eq=False):
    """A `jwt` section, compiled."""

    rules: TokenRules
    source: KeySource | None  # None: `keys` are all there are
    keys: tuple[VerifyingKey, ...]
    cookie: bytes
    claims: tuple[tuple[bytes, str], ...]  # fields for the application, with their claims
    user: str
    key: str  # the config key: `dispatch[3].jwt`
    row: Row  # of the scoreboard
    passed_slot: int
    refused_slot: int
    on_failure: Callable[[str], None] | None = None  # called with the address of a client whose token is forged


class JwtCheck(Middleware):
    """Lets clients pass by their tokens."""

    def __init__(self, settings: JwtSettings) -> None:
        self.settings = settings
        self._names = frozenset([fold(name.lower()) for name, _ in settings.claims])
        self._keys: tuple[VerifyingKey, ...] = ()  # those that `_good` have been verified by
        self._good: dict[bytes, tuple[Mapping[str, Any], float]] = {}  # by digest: the claims, and when they end

    def request(self, exchange: Exchange) -> None:
        """Let the request pass, or answer 401; 503 as long as no keys are known."""
        settings = self.settings
        keys = settings.source.keys if settings.source is not None else settings.keys
        if keys is not self._keys:
            self._keys = keys
            self._good = {}
        token = find_token(exchange.request, settings.cookie)
        if token is None:
            exchange.fail(401, "no token", settings.key, _CHALLENGE + b"\r\n")
            return
        if not keys:
            key = f"{settings.key}.keys"
            exchange.fail(503, "the keys of the issuer are not known yet", key, b"Retry-After: 1\r\n")
            return
        try:
            claims = self._claims(token, exchange.context.wall_clock())
            fields = [(name, _field_value(claims, name, claim)) for name, claim in settings.claims]
        except TokenError as error:
            if error.is_unknown_key and settings.source is not None:
                settings.source.ask()
            challenge = b'%b, error="invalid_token", error_description="%b"\r\n' % (_CHALLENGE, str(error).encode())
            settings.row.slots[settings.refused_slot] += 1
            if settings.on_failure is not None and not (error.is_untimely or error.is_unknown_key):
                settings.on_failure(exchange.client_ip)
            key = f"{settings.key}.{error.key}" if error.key else settings.key
            exchange.fail(401, f"token refused: {error}", key, challenge)
            return
        fields = [(name, value) for name, value in fields if value]
        exchange.request = sign_in(exchange.request, self._names, fields, claims=claims)
        exchange.user = claim_text(claims, settings.user)
        settings.row.slots[settings.passed_slot] += 1
        exchange.proceed()

    def _claims(self, token: bytes, now: float) -> Mapping[str, Any]:
        """Return the claims of a token. Raises: TokenError."""
        digest = blake2b(token, digest_size=32).digest()
        known = self._good.get(digest)
        if known is not None and now < known[1]:
            return known[0]
        claims, ends_at = verify(token.decode("latin-1"), self._keys, self.settings.rules, now)
        if len(self._good) >= CACHED_TOKENS:
            del self._good[next(iter(self._good))]
        self._good[digest] = claims, ends_at
        return claims


def find_token(request: Request, cookie: bytes) -> bytes | None:
    """Return the token of a request: of `Authorization: Bearer`, else of the cookie, if one is read."""
    scheme, _, token = request.fields.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return token.strip(b" ")
    if cookie:
        return find_cookie(request.fields.get(b"cookie", b""), cookie)
    return None


def _field_value(claims: Mapping[str, Any], name: bytes, claim: str) -> bytes:
    text = claim_text(claims, claim)
    if CONTROL.search(text):
        raise TokenError("a claim for the application holds a control character", key=f"claims.{name.decode()}")
    return text.strip().encode("utf-8", "replace")
