"""Secrets in the config: keys that hold one are marked, and neither a message nor a `repr` has it, whatever is wrong.

Covers `config.section`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from npserver.config.load import load_text
from npserver.config.schema import Config
from npserver.config.section import Section
from npserver.config.shape import Either, Kind, Many, Scalar, SectionShape, Shape, Table, Tagged, section_keys
from npserver.errors import ConfigError
from npserver.process.dry_run import dry_run
from npserver.runtime.scoreboard import Directory
from tests.stage.secrets import leaks, secret_places

SECRET = "c2VjcmV0LW1hYy1rZXktb2YtYW4tZXh0ZXJuYWwtYWNjb3VudA"
PLACES = dict(secret_places(SECRET))
AT_EACH_PLACE = pytest.mark.parametrize("name", PLACES)

#: Keys whose names sound like secrets, and why they are none.
KNOWN = {
    **dict.fromkeys(
        ("Tls.key", "Tls.key_passphrase", "UpstreamTls.key", "UpstreamTls.key_passphrase"), "a file's name"
    ),
    "Acme.eab_key_id": "sent to the CA, and public",
    **dict.fromkeys(("DnsNotify.key", "DnsPrimary.key", "ZoneUpdates.key"), "the name of a key, which is public"),
    "DnsUpdate.key_file": "a file's name",
    "DnsUpdate.key_name": "sent to the name server, and public",
    "Jwt.keys": "a URL or a file's name",
    "RateLimit.key": "variables by which requests are counted",
    "ResponseCache.key": "variables by which answers are stored",
}


def texts(shape: Shape) -> bool:
    """Whether a shape takes text that the user chooses."""
    match shape:
        case Scalar(kind):
            return kind is Kind.TEXT
        case Many(inner) | Table(inner):
            return texts(inner)
        case Either(options):
            return any(map(texts, options))
    return False


def sections(shape: Shape) -> Iterator[type[Section]]:
    match shape:
        case SectionShape(struct):
            yield struct
            for key in section_keys(struct).values():
                yield from sections(key.shape)
        case Many(inner) | Table(inner):
            yield from sections(inner)
        case Either(options):
            for option in options:
                yield from sections(option)
        case Tagged(_, tagged):
            for option in tagged.values():
                yield from sections(option)


def test_keys_whose_names_sound_like_secrets_are_marked() -> None:
    """In the description, `D(..., secret=True)`; the name of a file with a secret is none."""
    sounds = re.compile(r"key|secret|password|passphrase|token|users|credential", re.IGNORECASE)
    suspects = {
        f"{struct.__name__}.{key.name}"
        for struct in set(sections(SectionShape(Config)))
        for key in section_keys(struct).values()
        if sounds.search(key.name) and texts(key.shape) and not key.is_secret
    }
    assert suspects - KNOWN.keys() == set()
    assert KNOWN.keys() - suspects == set()
    assert {"Acme.eab_key", "BasicAuth.users", "DnsUpdate.key"} <= PLACES.keys()


def said(config: object) -> str:
    """Return all that is said of a config, and what a `repr` has of it."""
    try:
        document = load_text(config if isinstance(config, str) else json.dumps(config), "c.json")
        text = f"{document!r} {document.config!r} {document.config!s}"
        runtime = dry_run(document, Directory())
        return f"{text} {runtime!r} {runtime.warnings!r} {runtime.services!r}"
    except ConfigError as error:
        return f"{text if 'text' in locals() else ''} {error} {error!r} {error.valid_part!r} {error.problems!r}"


@AT_EACH_PLACE
def test_it_is_in_no_repr(name: str) -> None:
    found = said(PLACES[name])
    assert f"{name.partition('.')[2]}=..." in found
    assert leaks([SECRET.encode()], found) == []


@AT_EACH_PLACE
def test_a_wrong_value_is_not_quoted(name: str) -> None:
    """Such as the password itself, in place of its hash, a number, or a list."""
    for wrong in (12345678901234567, [SECRET], {"x": SECRET, "y": 12345678901234567}, f"{SECRET}\0", None, [[SECRET]]):
        found = said(json.loads(json.dumps(PLACES[name]).replace(json.dumps(SECRET), json.dumps(wrong))))
        assert leaks([SECRET.encode(), b"12345678901234567"], found) == []


@AT_EACH_PLACE
def test_a_text_that_is_no_json_is_not_quoted(name: str) -> None:
    """A quote, a comma or a bracket too much or too few, at any place."""
    text = json.dumps(PLACES[name], indent=1)
    start = text.index(SECRET)
    for at in (*range(max(0, start - 40), start + 3), *range(start + len(SECRET) - 2, len(text))):
        for character in ("", '"', ",", "}", "[", ":", "\\", "\n", "1"):
            for mutant in (text[:at] + character + text[at + 1 :], text[:at] + character + text[at:]):
                assert leaks([SECRET.encode()], _message(mutant)) == []


def _message(text: str) -> str:
    try:
        load_text(text, "c.json")
    except ConfigError as error:
        return str(error)
    return ""


def test_other_values_are_quoted() -> None:
    config: dict[str, Any] = {"listen": ["http://:80"], "tls": {"acme": {"email": 5, "eab_key": 5}}}
    messages = _message(json.dumps(config))
    assert "'email': expected a string, got 5" in messages
    assert "'eab_key': expected a string, got something else, which is secret and not shown" in messages
