"""Files with the key of a name server: what `tsig-keygen` of BIND writes, or the secret alone. Pure."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error

from msgspec import Struct

from npserver.regex import regex

_COMMENT = regex(r'("[^"]*")|/\*.*?\*/|//[^\n]*|#[^\n]*', re.DOTALL)  # not within quotes: base64 has //
_CLAUSE = regex(r"""key\s+"?([^\s"{};]+)"?\s*\{([^{}]*)\}\s*;?""")
_STATEMENT = regex(r"""\s*(algorithm|secret)\s+"?([^\s"{};]+)"?\s*;""")


class KeyText(Struct, frozen=True):
    """The parts of a key as they are written; empty where the file does not say."""

    secret: str
    name: str = ""
    algorithm: str = ""

    def __repr__(self) -> str:
        return f"<KeyText {self.name}>"  # without the secret


def parse_file(text: str) -> KeyText:
    """Return the key in a file. Raises: ValueError with a message for the operator that quotes nothing of it."""
    clauses = _CLAUSE.findall(_COMMENT.sub(lambda found: found[1] or " ", text))
    if not clauses:
        words = text.split()
        if len(words) != 1:
            raise ValueError('it holds neither a secret in base64, nor one key such as `key "name" { ... };` of BIND')
        return KeyText(words[0])
    if len(clauses) > 1:
        raise ValueError(f"it holds {len(clauses)} keys: write the one for npserver into a file of its own")
    name, inner = clauses[0]
    said = dict(_STATEMENT.findall(inner))
    if "secret" not in said:
        raise ValueError("its key has no secret")
    return KeyText(said["secret"], name, said.get("algorithm", "").lower())


def parse_secret(text: str) -> bytes:
    """Return the bytes of a secret in base64. Raises: ValueError, whose message does not quote it."""
    try:
        secret = b64decode("".join(text.split()), validate=True)
    except (Error, ValueError):
        raise ValueError("expected the secret in base64, as the name server has it") from None
    if not secret:
        raise ValueError("the secret is empty")
    return secret
