"""Password hashes."""

from __future__ import annotations

import hashlib

import pytest

from npserver.web.middleware.basic_auth.passwords import PasswordHash, hash_password, parse_hash, verify_password

SALT = bytes(range(16))


def test_a_hash_verifies_its_password_and_no_other() -> None:
    text = hash_password("correct horse", SALT)
    assert text.startswith("$scrypt$ln=15,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$")
    assert verify_password("correct horse", text)
    assert not verify_password("correct horsE", text)
    assert not verify_password("", text)


def test_parsing_and_writing_agree() -> None:
    text = str(PasswordHash(4, 8, 1, SALT, b"d" * 32))
    assert str(parse_hash(text)) == text


def test_known_answer_of_rfc_7914() -> None:
    """RFC 7914 §12: scrypt(P="password", S="NaCl", N=1024, r=8, p=16)."""
    digest = bytes.fromhex(
        "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b3731622eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d"
        "8360cbdfa2cc0640"
    )
    assert PasswordHash(10, 8, 16, b"NaCl", digest).verify("password")


def test_any_text_can_be_a_password() -> None:
    for password in ("", "ü€😀", "\ud800", "a" * 10_000):
        digest = hashlib.scrypt(password.encode("utf-8", "surrogatepass"), salt=SALT, n=16, r=8, p=1, dklen=32)
        assert PasswordHash(4, 8, 1, SALT, digest).verify(password)


@pytest.mark.parametrize(
    "text",
    ["", "secret", "$2b$12$abcdefghijklmnopqrstuv", "$scrypt$ln=15,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$",
     "$scrypt$ln=99,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$AAECAwQFBgcICQoLDA0ODwAAECAwQFBgcICQoLDA0ODw",
     "$scrypt$ln=0,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$AAECAwQFBgcICQoLDA0ODwAAECAwQFBgcICQoLDA0ODw",
     "$scrypt$ln=15,r=8,p=1$AAECAwQFBgcICQoLDA0OD$AAECAwQFBgcICQoLDA0ODwAAECAwQFBgcICQoLDA0OD"],
)  # fmt: skip
def test_what_is_no_hash_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="password hash"):
        parse_hash(text)
