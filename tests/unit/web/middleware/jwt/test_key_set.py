"""Key sets of issuers: what is taken of them, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from joserfc import jwk

from npserver.web.middleware.jwt.key_set import make_keys, public_keys

RSA = jwk.RSAKey.generate_key(2048).as_dict(private=False)
EC = jwk.ECKey.generate_key("P-384").as_dict(private=False)


def key_set(*keys: Any) -> bytes:
    return json.dumps({"keys": keys}).encode()


def test_the_algorithms_of_each_type() -> None:
    keys = make_keys(public_keys(key_set(RSA, EC, jwk.OKPKey.generate_key("Ed25519").as_dict(private=False))))
    assert [sorted(one.algorithms) for one in keys] == [
        ["PS256", "PS384", "PS512", "RS256", "RS384", "RS512"], ["ES384"], ["Ed25519", "EdDSA"],
    ]  # fmt: skip


def test_a_key_with_alg_is_for_that_alone_and_extras_are_dropped() -> None:
    (entry,) = public_keys(key_set({**RSA, "alg": "RS256", "use": "sig", "kid": "a", "x5c": ["x"], "custom": {"a": 1}}))
    assert set(entry) == {"kty", "n", "e", "alg", "use", "kid"}
    assert make_keys([entry])[0].algorithms == {"RS256"}


@pytest.mark.parametrize(
    "unusable",
    [
        5, None, [], {}, {"kty": "oct", "k": "c2VjcmV0"}, {**RSA, "use": "enc"}, {**RSA, "key_ops": ["encrypt"]},
        {**RSA, "key_ops": 5}, {**RSA, "alg": "HS256"}, {**RSA, "alg": "none"}, {**RSA, "alg": ["RS256"]},
        {**RSA, "kid": 5}, {**RSA, "kid": ["a"]},
        {**RSA, "n": "!!"}, {**RSA, "n": 5}, {**RSA, "n": ""}, {**RSA, "e": "AA"},
        {"kty": "RSA"}, {"kty": ["RSA"]}, {**EC, "crv": "P-999"}, {**EC, "crv": ["P-384"]}, {**EC, "crv": "P-256"},
        {**EC, "x": EC["y"]}, {**EC, "x": "AA"}, {"kty": "EC", "crv": "secp256k1", "x": EC["x"], "y": EC["y"]},
        jwk.RSAKey.generate_key(2048).as_dict(private=True),
        {**RSA, "n": RSA["n"][:171]}, {**RSA, "n": RSA["n"] * 5}, {**RSA, "e": "AQAAAAAA"},
    ],
)  # fmt: skip
def test_unusable_keys_are_left_out(unusable: Any) -> None:
    assert len(public_keys(key_set(unusable, RSA))) == 1
    with pytest.raises(ValueError, match="no usable key: key 0: "):
        public_keys(key_set(unusable))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "neither a JSON Web Key Set nor PEM"),
        (b"<html>", "neither a JSON Web Key Set nor PEM"),
        (b"[" * 100_000, "neither a JSON Web Key Set nor PEM"),
        (b"[]", "it has no list 'keys'"),
        (b'{"keys": {}}', "it has no list 'keys'"),
        (b'{"keys": []}', "no usable key"),
        (key_set(*[RSA] * 65), "more than 64 keys"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "no public key in PEM"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "no public key in PEM"),
    ],
)
def test_what_is_no_key_set(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        public_keys(data)


def test_pem() -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert make_keys(public_keys(pem))[0].algorithms == {"ES256"}
    weak = rsa.generate_private_key(65537, 1024).public_key()
    with pytest.raises(ValueError, match="1024 bits"):
        public_keys(weak.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(ValueError, match="a private key; the public one is needed"):
        public_keys(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
