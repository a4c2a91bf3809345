"""Tokens: good ones of each algorithm, and those of an attacker (RFC 8725)."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwk, jws

from npserver.web.middleware.jwt.key_set import make_keys, public_keys, secret_key
from npserver.web.middleware.jwt.token import TokenError, TokenRules, verify

NOW = 1_800_000_000.0
RSA = jwk.RSAKey.generate_key(2048, {"kid": "rsa"})
EC = jwk.ECKey.generate_key("P-256", {"kid": "ec"})
ED = jwk.OKPKey.generate_key("Ed25519", {"kid": "ed"})
KEYS = make_keys(public_keys(json.dumps({"keys": [one.as_dict(private=False) for one in (RSA, EC, ED)]}).encode()))
SECRET = "0123456789abcdef0123456789abcdef"
RULES = TokenRules(None, frozenset({"https://idp"}), frozenset({"app"}), 30.0, 8192)
CLAIMS = {
    "iss": "https://idp",
    "aud": ["other", "app"],
    "exp": NOW + 60,
    "nbf": NOW - 60,
    "iat": NOW - 60,
    "sub": "ann",
}


def b64(data: bytes | dict[str, Any]) -> str:
    data = data if isinstance(data, bytes) else json.dumps(data).encode()
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(payload: bytes | None = None, header: dict[str, Any] | None = None, key: Any = RSA, **claims: Any) -> str:
    """Return a token; a claim of None is left out."""
    found = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}
    header = {"alg": "RS256", "kid": "rsa", **(header or {})}
    body = json.dumps(found).encode() if payload is None else payload
    start = f"{b64(header)}.{b64(body)}"
    return f"{start}.{b64(jws.JWSRegistry.algorithms[header['alg']].sign(start.encode(), key))}"


def raw(header: bytes, payload: bytes = json.dumps(CLAIMS).encode(), signature: bytes | None = None) -> str:
    """Return a token with any header, signed by the RSA key as RS256 whatever the header says."""
    start = f"{b64(header)}.{b64(payload)}"
    if signature is None:
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.hashes import SHA256

        signature = RSA.private_key.sign(start.encode(), PKCS1v15(), SHA256())
    return f"{start}.{b64(signature)}"


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [("RS256", RSA), ("RS512", RSA), ("PS256", RSA), ("ES256", EC), ("EdDSA", ED), ("Ed25519", ED)],
)
def test_good_ones(algorithm: str, key: Any) -> None:
    token = signed(header={"alg": algorithm, "kid": key.kid}, key=key)
    claims, ends_at = verify(token, KEYS, RULES, NOW)
    assert claims["sub"] == "ann"
    assert ends_at == NOW + 90
    flipped = token[:-6] + ("A" if token[-6] != "A" else "B") + token[-5:]
    with pytest.raises(TokenError, match="signature"):
        verify(flipped, KEYS, RULES, NOW)


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_shared_secret(algorithm: str) -> None:
    token = signed(header={"alg": algorithm, "kid": "any"}, key=jwk.OctKey.import_key(SECRET))
    assert verify(token, [secret_key(SECRET)], RULES, NOW)[0]["sub"] == "ann"
    with pytest.raises(TokenError, match="signature"):
        verify(token, [secret_key(SECRET[::-1])], RULES, NOW)


def test_without_kid_each_key_that_fits_is_tried() -> None:
    second = jwk.RSAKey.generate_key(2048)
    keys = make_keys([jwk.RSAKey.generate_key(2048).as_dict(private=False), second.as_dict(private=False)])
    registry = jws.JWSRegistry(algorithms=["RS256"])
    token = jws.serialize_compact({"alg": "RS256"}, json.dumps(CLAIMS).encode(), second, registry=registry)
    assert verify(token, keys, RULES, NOW)[0]["sub"] == "ann"


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "", "RS257", "HS256 ", 5, None, ["RS256"], {"a": 1}])
def test_no_algorithm_but_those_of_the_keys(alg: Any) -> None:
    for signature in (b"", b"x", None):
        token = raw(json.dumps({"alg": alg, "kid": "rsa"}).encode(), signature=signature)
        with pytest.raises(TokenError):
            verify(token, KEYS, RULES, NOW)
    with pytest.raises(TokenError):
        verify(raw(b'{"kid": "rsa"}'), KEYS, RULES, NOW)


@pytest.mark.parametrize("hash", [hashlib.sha256, hashlib.sha512])
def test_a_public_key_is_no_secret(hash: Any) -> None:
    """CVE-2016-5431 and its like: HS256 with the public key, in each form that it may be known in."""
    public = RSA.public_key
    forms = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).strip(),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(RSA.as_dict(private=False)).encode(),
    ]
    name = {"sha256": "HS256", "sha512": "HS512"}[hash().name]
    for secret in forms:
        start = f"{b64({'alg': name, 'kid': 'rsa'})}.{b64(dict(CLAIMS))}"
        token = f"{start}.{b64(hmac.digest(secret, start.encode(), hash))}"
        with pytest.raises(TokenError, match="algorithm"):
            verify(token, KEYS, RULES, NOW)


def test_a_key_of_another_type_and_pinned_algorithms() -> None:
    with pytest.raises(TokenError, match="algorithm is not that of the key"):
        verify(raw(b'{"alg": "ES256", "kid": "rsa"}'), KEYS, RULES, NOW)
    pinned = TokenRules(frozenset({"ES256"}), None, None, 0.0, 8192)
    with pytest.raises(TokenError, match="algorithm is not accepted"):
        verify(signed(), KEYS, pinned, NOW)
    assert verify(signed(header={"alg": "ES256", "kid": "ec"}, key=EC), KEYS, pinned, NOW)


@pytest.mark.parametrize("kid", ["../../dev/null", "rsa'; --", "http://evil/keys", "", "RSA", "rsa\0", "x" * 4000])
def test_a_kid_only_chooses_among_our_keys(kid: str) -> None:
    with pytest.raises(TokenError) as caught:
        verify(signed(header={"kid": kid}), KEYS, RULES, NOW)
    assert caught.value.is_unknown_key


@pytest.mark.parametrize("kid", [1, True, ["rsa"], {"a": "rsa"}])
def test_a_kid_is_a_string(kid: Any) -> None:
    with pytest.raises(TokenError, match="key id"):
        verify(raw(json.dumps({"alg": "RS256", "kid": kid}).encode()), KEYS, RULES, NOW)


def test_keys_in_the_header_are_ignored() -> None:
    own = jwk.RSAKey.generate_key(2048)
    header = {"alg": "RS256", "jwk": own.as_dict(private=False), "jku": "https://evil/keys", "x5u": "https://evil/c"}
    start = f"{b64(header)}.{b64(dict(CLAIMS))}"
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    token = f"{start}.{b64(own.private_key.sign(start.encode(), PKCS1v15(), SHA256()))}"
    with pytest.raises(TokenError, match="signature"):
        verify(token, KEYS, RULES, NOW)


@pytest.mark.parametrize(
    "header",
    [
        b'{"alg": "RS256", "kid": "rsa", "crit": ["exp"], "exp": 1}',
        b'{"alg": "RS256", "kid": "rsa", "crit": []}',
        b'{"alg": "RS256", "kid": "rsa", "b64": false}',
        b'{"alg": "none", "alg": "RS256", "kid": "rsa"}',
        b'{"alg": "RS256", "kid": "rsa", "x": {"a": 1, "a": 2}}',
        b'["RS256"]', b"5", b'"RS256"', b"null", b"{", b"\xff\xfe", b"[" * 6000, b'{"alg": NaN}',
    ],
)  # fmt: skip
def test_a_header_that_readers_may_differ_on(header: bytes) -> None:
    with pytest.raises(TokenError, match="header"):
        verify(raw(header), KEYS, TokenRules(None, None, None, 0.0, 1 << 20), NOW)


@pytest.mark.parametrize(
    "payload",
    [b"[]", b"5", b"null", b"", b"x", b'{"sub": "ann", "sub": "root", "exp": 1900000000}', b"[" * 100_000,
     b'{"a":' * 50_000, b'{"exp": Infinity}', b'{"exp": ' + b"9" * 5000 + b"}"],
)  # fmt: skip
def test_claims_that_cannot_be_read(payload: bytes) -> None:
    token = raw(b'{"alg": "RS256", "kid": "rsa"}', payload) if payload else signed(b"")
    with pytest.raises(TokenError):
        verify(token, KEYS, TokenRules(None, None, None, 0.0, 1 << 20), NOW)


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"exp": NOW - 31}, "expired"),
        ({"exp": NOW - 30}, "expired"),
        ({"exp": None}, "no claim exp"),
        ({"exp": "9999999999"}, "exp is not a time"),
        ({"exp": True}, "exp is not a time"),
        ({"exp": [NOW + 60]}, "exp is not a time"),
        ({"exp": 1e300}, "exp is not a time"),
        ({"nbf": NOW + 31}, "not valid yet"),
        ({"nbf": "0"}, "nbf is not a time"),
        ({"iat": "0"}, "iat is not a time"),
        ({"iss": "https://evil"}, "issuer"),
        ({"iss": None}, "issuer"),
        ({"iss": ["https://idp"]}, "issuer"),
        ({"iss": {"https://idp": 1}}, "issuer"),
        ({"aud": "other"}, "audience"),
        ({"aud": None}, "audience"),
        ({"aud": []}, "audience"),
        ({"aud": {"app": 1}}, "audience"),
        ({"aud": [["app"]]}, "audience"),
        ({"aud": "ap"}, "audience"),
        ({"aud": "app,other"}, "audience"),
    ],
)
def test_claims_that_do_not_let_in(claims: dict[str, Any], message: str) -> None:
    payload = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}
    with pytest.raises(TokenError, match=message):
        verify(signed(json.dumps(payload).encode()), KEYS, RULES, NOW)


def test_null_is_no_time() -> None:
    with pytest.raises(TokenError, match="nbf is not a time"):
        verify(signed(json.dumps({**CLAIMS, "nbf": None}).encode()), KEYS, RULES, NOW)


def test_the_clocks_may_differ_by_the_leeway() -> None:
    assert verify(signed(exp=NOW - 29), KEYS, RULES, NOW)
    assert verify(signed(nbf=NOW + 29), KEYS, RULES, NOW)


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "a.b", "a.b.c.d", "a.b.c.d.e", "a b.c.d", "=.=.=", "é.b.c", "a" * 9000, signed() + "=",
     signed() + ".", signed() + "\n", " " + signed(), signed().replace(".", "..", 1)],
)  # fmt: skip
def test_what_is_no_token(token: str) -> None:
    with pytest.raises(TokenError):
        verify(token, KEYS, RULES, NOW)


def test_no_message_quotes_a_token() -> None:
    token = raw(b'{"alg": "hunter2", "kid": "hunter2"}')
    with pytest.raises(TokenError) as caught:
        verify(token, KEYS, RULES, NOW)
    assert "hunter2" not in str(caught.value)
