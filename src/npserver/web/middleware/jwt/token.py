"""Verifies one token: its form (RFC 7515), signature and claims (RFC 7519), as RFC 8725 advises. Pure.

The token is a client's: nothing in it decides how it is verified. The algorithm must be one that is accepted and that
the chosen key is for; `kid` only chooses among our keys; keys and addresses in the header are ignored, and a header
with `crit` is refused. JSON with repeated names is refused, as readers differ in which of them counts.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from typing import Any

from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry
from msgspec import Struct

from npserver.regex import regex
from npserver.web.middleware.jwt.key_set import VerifyingKey

MAX_TRIED_KEYS = 8  # for a token without `kid`
_FORM = regex(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")


class TokenError(Exception):
    """A token is refused. The message is for the log and for the client, and quotes nothing of the token.

    Attributes: `is_unknown_key` (none of the keys has the token's `kid`), `is_untimely` (it was valid, or will be),
    `key` (of `jwt`, the one that decided).
    """

    def __init__(self, message: str, *, is_unknown_key: bool = False, is_untimely: bool = False, key: str = "") -> None:
        super().__init__(message)
        self.key = key
        self.is_unknown_key = is_unknown_key
        self.is_untimely = is_untimely


class TokenRules(Struct, frozen=True, eq=False):
    """What tokens must fulfil."""

    algorithms: frozenset[str] | None  # None: those of the keys
    issuers: frozenset[str] | None
    audiences: frozenset[str] | None
    leeway_s: float
    max_bytes: int


def verify(token: str, keys: Sequence[VerifyingKey], rules: TokenRules, now: float) -> tuple[Mapping[str, Any], float]:
    """Return the claims of a token, and when it ends, in seconds since 1970, leeway included. Raises: TokenError."""
    if len(token) > rules.max_bytes:
        raise TokenError(f"it is longer than {rules.max_bytes} bytes")
    match = _FORM.fullmatch(token)
    if match is None:
        raise TokenError("it is not a signed token")
    header = _read_object(match[1], "header")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or (rules.algorithms is not None and algorithm not in rules.algorithms):
        raise TokenError("its algorithm is not accepted")
    if "crit" in header or "b64" in header:
        raise TokenError("its header names extensions")
    candidates = _candidates(keys, header.get("kid"), algorithm)
    if not any(_is_signed(token, algorithm, one) for one in candidates):
        raise TokenError("its signature is not valid")
    claims = _read_object(match[2], "claims")
    return claims, _check_claims(claims, rules, now)


def _candidates(keys: Sequence[VerifyingKey], kid: object, algorithm: str) -> list[VerifyingKey]:
    if kid is not None and not isinstance(kid, str):
        raise TokenError("its key id is not a string")
    named = [one for one in keys if kid is None or one.kid is None or one.kid == kid]
    if not named:
        raise TokenError("its key is not known", is_unknown_key=True)
    fitting = [one for one in named if algorithm in one.algorithms]
    if not fitting:
        raise TokenError("its algorithm is not that of the key")
    return fitting[:MAX_TRIED_KEYS]


def _is_signed(token: str, algorithm: str, key: VerifyingKey) -> bool:
    signed, _, signature = token.rpartition(".")
    try:
        # without `deserialize_compact`, which reads the header a second time and warns of EdDSA each time
        return JWSRegistry.algorithms[algorithm].verify(signed.encode("ascii"), _decode(signature), key.key)
    except (JoseError, ValueError, TypeError):
        return False


def _check_claims(claims: Mapping[str, Any], rules: TokenRules, now: float) -> float:
    ends_at = _time(claims, "exp")
    if ends_at is None:
        raise TokenError("it has no claim exp")
    ends_at += rules.leeway_s
    if now >= ends_at:
        raise TokenError("it has expired", is_untimely=True)
    begins_at = _time(claims, "nbf")
    if begins_at is not None and now + rules.leeway_s < begins_at:
        raise TokenError("it is not valid yet", is_untimely=True)
    _time(claims, "iat")
    issuer, audience = claims.get("iss"), claims.get("aud")
    if rules.issuers is not None and not (isinstance(issuer, str) and issuer in rules.issuers):
        raise TokenError("its issuer is not accepted")
    if rules.audiences is not None:
        found = [audience] if isinstance(audience, str) else audience if isinstance(audience, list) else []
        if not any(isinstance(one, str) and one in rules.audiences for one in found):
            raise TokenError("it is for another audience")
    return ends_at


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e15 < value < 1e15:
        raise TokenError(f"its claim {name} is not a time")
    return float(value)


def _read_object(text: str, what: str) -> dict[str, Any]:
    try:
        found = json.loads(
            _decode(text).decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
        )
    except (ValueError, RecursionError):
        raise TokenError(f"its {what} cannot be read") from None
    if not isinstance(found, dict):
        raise TokenError(f"its {what} cannot be read")
    return found


def _decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is repeated")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(name)
