"""The public keys of an issuer: read from a JSON Web Key Set (RFC 7517) or PEM, and what each may verify.

Only keys for signatures are taken, and of each only its public part: no private ones, no shared secrets, no weak ones.
A key verifies the algorithms of its own type alone, so that no token can make a public key pass for a secret.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from joserfc import jwk
from joserfc.errors import JoseError
from msgspec import Struct

from npserver.errors import clip

MAX_KEYS = 64
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192  # RFC 7518 §3.3; larger ones take long to verify
MAX_RSA_EXPONENT = 1 << 32

_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_ED25519 = ("EdDSA", "Ed25519")  # RFC 9864 has a new name for each curve
#: The algorithms of a key by its type and curve.
_ALGORITHMS = {
    ("RSA", ""): _RSA,
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): _ED25519,
}
SECRET_ALGORITHMS = ("HS256", "HS384", "HS512")
_PUBLIC = ("kty", "kid", "use", "key_ops", "alg", "crv", "x", "y", "n", "e")
_PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")


class VerifyingKey(Struct, frozen=True, eq=False):
    """A key, and the algorithms that it verifies."""

    kid: str | None
    algorithms: frozenset[str]
    key: Any  # of joserfc


def public_keys(data: bytes) -> list[dict[str, Any]]:
    """Return the usable keys of a key set or of PEM as JSON can express them. Raises: ValueError if there are none."""
    if data.lstrip()[:10] == b"-----BEGIN":
        return [_from_pem(data)]
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("neither a JSON Web Key Set nor PEM") from None
    entries = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(entries, list):
        raise ValueError("not a JSON Web Key Set: it has no list 'keys'")
    if len(entries) > MAX_KEYS:
        raise ValueError(f"more than {MAX_KEYS} keys")
    kept, faults = [], []
    for number, entry in enumerate(entries):
        try:
            kept.append(_checked(entry))
        except ValueError as error:
            faults.append(f"key {number}: {error}")
    if not kept:
        raise ValueError(f"no usable key{': ' if faults else ''}{'; '.join(faults[:3])}")
    return kept


def make_keys(entries: list[dict[str, Any]]) -> list[VerifyingKey]:
    """Return the keys of what `public_keys` has returned."""
    return [
        VerifyingKey(one.get("kid"), frozenset(_algorithms(one)), jwk.import_key(one)) for one in entries[:MAX_KEYS]
    ]


def secret_key(secret: str) -> VerifyingKey:
    """Return the key of a shared secret."""
    return VerifyingKey(None, frozenset(SECRET_ALGORITHMS), jwk.OctKey.import_key(secret.encode()))


def _checked(entry: object) -> dict[str, Any]:
    """Return the public part of a key that may verify signatures. Raises: ValueError."""
    if not isinstance(entry, dict):
        raise ValueError("not an object")
    if any(name in entry for name in _PRIVATE):
        raise ValueError("a private key or a shared secret, which a key set must not hold")
    operations = entry.get("key_ops", ["verify"])
    if entry.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        raise ValueError("not for signatures")
    if not isinstance(entry.get("kid", ""), str):
        raise ValueError("'kid' is not a string")
    if not _algorithms(entry):
        raise ValueError(f"type {clip(entry.get('kty'))}, algorithm {clip(entry.get('alg', 'any'))}: not supported")
    public = {name: entry[name] for name in _PUBLIC if name in entry}
    try:
        if public["kty"] == "RSA":
            _check_strength(_number(public["n"]), _number(public["e"]))
        jwk.import_key(public)
    except (JoseError, UnsupportedAlgorithm, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise ValueError(str(error) or type(error).__name__) from None
    return public


def _check_strength(modulus: int, exponent: int) -> None:
    bits = modulus.bit_length()
    if not MIN_RSA_BITS <= bits <= MAX_RSA_BITS:
        raise ValueError(f"an RSA key of {bits} bits; from {MIN_RSA_BITS} to {MAX_RSA_BITS} are taken")
    if exponent > MAX_RSA_EXPONENT:
        raise ValueError("an RSA key with too large an exponent")


def _number(text: str) -> int:
    return int.from_bytes(urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")


def _algorithms(entry: dict[str, Any]) -> tuple[str, ...]:
    kind, curve, named = entry.get("kty"), entry.get("crv", ""), entry.get("alg")
    if not isinstance(kind, str) or not isinstance(curve, str):
        return ()
    fitting = _ALGORITHMS.get((kind, "" if kind == "RSA" else curve), ())
    if named is None:
        return fitting
    if fitting is _ED25519:
        return fitting if named in fitting else ()
    return tuple(one for one in fitting if one == named)


def _from_pem(data: bytes) -> dict[str, Any]:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

    try:
        if b"BEGIN CERTIFICATE" in data:
            raw: Any = x509.load_pem_x509_certificate(data).public_key()
        elif b"PRIVATE" in data:
            raise ValueError("a private key; the public one is needed")
        else:
            raw = load_pem_public_key(data)
        pem = raw.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    except UnsupportedAlgorithm:
        raise ValueError("a key of a type that is not supported") from None
    except ValueError as error:
        raise ValueError(str(error) if "private key" in str(error) else "no public key in PEM") from None
    if hasattr(raw, "public_numbers") and hasattr(numbers := raw.public_numbers(), "n"):
        _check_strength(numbers.n, numbers.e)
    for kind in ("RSA", "EC", "OKP"):
        try:
            entry = jwk.import_key(pem, kind).as_dict(private=False)
        except (JoseError, ValueError, TypeError):
            continue
        entry.pop("kid", None)
        return _checked(dict(entry))
    raise ValueError("a key of a type that is not supported")
