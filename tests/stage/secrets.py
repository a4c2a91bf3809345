"""Secrets in what a program says: where the config may hold one, what may be written of it, and whether it was.

`private_values` and `keys_below` give the secrets of key files, `leaks` finds pieces of them in a text, and
`secret_places` walks the schema to the keys that are marked as secret.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from inspect import get_annotations
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from npserver.config.schema import Config
from npserver.config.shape import Either, Many, SectionShape, Shape, Table, Tagged, section_keys

PIECE = 16  # characters of a secret, in any form, that must not be anywhere
_KEY = re.compile(rb"-----BEGIN (?:EC |RSA )?PRIVATE KEY-----.+?-----END (?:EC |RSA )?PRIVATE KEY-----\n", re.DOTALL)


def private_values(pem: bytes, password: bytes | None = None) -> list[bytes]:
    """Return the private numbers of a key; the rest of its PEM is public, or the same for all keys."""
    key = load_pem_private_key(pem, password)
    if isinstance(key, RSAPrivateKey):
        numbers = key.private_numbers()
        return [one.to_bytes((one.bit_length() + 7) // 8, "big") for one in (numbers.d, numbers.p, numbers.q)]
    assert isinstance(key, EllipticCurvePrivateKey)
    return [key.private_numbers().private_value.to_bytes((key.key_size + 7) // 8, "big")]


def lock(key: Path, passphrase: str) -> Path:
    """Encrypt a key file; return a file with the passphrase, which only its owner may read."""
    plain: Any = load_pem_private_key(key.read_bytes(), None)
    secret = BestAvailableEncryption(passphrase.encode())
    file = key.with_suffix(".pass")
    for path, content in ((key, plain.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret)), (file, b"")):
        path.write_bytes(content)
        path.chmod(0o600)
    file.write_text(f"{passphrase}\n")
    return file


def keys_below(directory: Path) -> list[bytes]:
    """Return the private numbers of all keys in the files of a store."""
    found = []
    for file in directory.rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            data = json.loads(data).get("key", "").encode() if data.startswith(b"{") else data
            found += [value for match in _KEY.finditer(data) for value in private_values(match[0])]
    return found


def forms_of(secret: bytes) -> set[str]:
    """Return how a secret may be written: in base64 at any place of a longer text, in hex, in decimal, in a repr."""
    in_base64 = [b64encode(bytes(shift) + secret).decode()[4 if shift else 0 : -4] for shift in range(3)]
    urlsafe = [text.translate(str.maketrans("+/", "-_")) for text in in_base64]
    as_text = {secret.decode()} if secret.isascii() and secret.decode().isprintable() else set()
    number = str(int.from_bytes(secret, "big"))
    return {*in_base64, *urlsafe, *as_text, secret.hex(), secret.hex().upper(), number, repr(secret)[2:-1]}


def leaks(secrets: Iterable[bytes], text: str) -> list[str]:
    """Return the pieces of secrets in a text, however its lines are broken; half of a form is found for certain."""
    joined = re.sub(r"\s|\\n|:", "", text)
    return [
        form[start : start + PIECE]
        for secret in secrets
        for form in forms_of(secret)
        for start in range(0, max(1, len(form) - PIECE + 1), PIECE // 2)
        if form[start : start + PIECE] in text or form[start : start + PIECE] in joined
    ]


def secret_places(secret: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name of each key of the schema that is marked as secret, and a config that holds `secret` there."""
    seen: set[str] = set()
    for name, config in _places(SectionShape(Config), "", lambda value: value, secret):
        if name not in seen:
            seen.add(name)
            yield name, config


def _places(shape: Shape, name: str, build: Callable[[Any], Any], secret: str) -> Iterator[tuple[str, dict[str, Any]]]:
    match shape:
        case SectionShape(struct):
            for key in section_keys(struct).values():
                inner = f"{struct.__name__}.{key.name}"

                others = {one.name: _example(one.shape) for one in section_keys(struct).values() if one.required}

                def place(
                    value: Any, key: str = key.name, others: Any = others, build: Callable[[Any], Any] = build
                ) -> Any:
                    return build({**others, key: value})

                if key.is_secret:
                    owner = next(base for base in struct.__mro__ if key.attribute in get_annotations(base))
                    yield f"{owner.__name__}.{key.name}", place(_filled(key.shape, secret))
                else:
                    yield from _places(key.shape, inner, place, secret)
        case Many(item):
            yield from _places(item, name, lambda value: build([value]), secret)
        case Table(value):
            yield from _places(value, name, lambda inner: build({"joe": inner}), secret)
        case Either(options):
            for option in options:
                yield from _places(option, name, build, secret)
        case Tagged(tag, tagged):
            for chosen, part in tagged.items():
                yield from _places(part, name, lambda value, tag=tag, of=chosen: build({tag: of, **value}), secret)  # type: ignore[misc]


def _filled(shape: Shape, secret: str) -> Any:
    return {"joe": secret} if isinstance(shape, Table) else [secret] if isinstance(shape, Many) else secret


def _example(shape: Shape) -> Any:
    """Return a value that a required key takes."""
    match shape:
        case Either(options):
            return _example(options[0])
        case Many() | Table():
            return [] if isinstance(shape, Many) else {}
        case _:
            return "x"
