"""The keys of `jwt`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import field

from npserver.config.section import D, Section
from npserver.config.units import Seconds, Size

Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519", "HS256",
    "HS384", "HS512",
]  # fmt: skip


class Jwt(Section, frozen=True, kw_only=True):
    """Signed tokens (JWT, RFC 7519) that clients show, as bearers (RFC 6750) or in a cookie."""

    keys: Annotated[
        str | None,
        D(
            "public keys of the issuer: the URL of a JSON Web Key Set, or a file with one, or with a key or "
            "certificate in PEM"
        ),
    ] = None
    secret: Annotated[
        str | None, D("secret shared with the issuer, in place of `keys`: 32 bytes or more", secret=True)
    ] = None
    algorithms: Annotated[
        list[Algorithm],
        D("accepted signature algorithms; default: those that fit the keys", empty="those that fit the keys"),
    ] = field(default_factory=list)
    issuer: Annotated[
        str | list[str] | None, D("accepted values of the claim `iss`; default: any", empty="any issuer")
    ] = None
    audience: Annotated[
        str | list[str] | None,
        D("accepted values of the claim `aud`, one of which a token must have; default: any", empty="any audience"),
    ] = None
    cookie: Annotated[
        str | None, D("cookie with the token, for requests without `Authorization: Bearer`; default: no cookie is read")
    ] = None
    claims: Annotated[
        dict[str, str],
        D(
            "header fields for the application, each with the claim that it holds; a client's fields of these names "
            "are removed"
        ),
    ] = field(default_factory=dict)
    user: Annotated[str, D("claim with the user's name, for the access log")] = "sub"
    leeway: Annotated[Seconds, D("difference of clocks that is allowed for `exp` and `nbf`", zero="none")] = Seconds(30)
    max_token_size: Annotated[Size, D("largest token; larger ones are answered with 401")] = Size(8 << 10)
    refresh: Annotated[Seconds, D("time between two fetches of the keys")] = Seconds(600)
    timeout: Annotated[Seconds, D("time limit for fetching the keys")] = Seconds(10)
    max_keys_size: Annotated[Size, D("largest key set")] = Size(256 << 10)
