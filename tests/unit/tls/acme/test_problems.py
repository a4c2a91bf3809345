"""What the exception of the ACME client keeps of a CA's text: `tls.acme.problems`, and `tls.acme.settings` in logs."""

from __future__ import annotations

import pytest

from npserver.tls.acme.problems import AcmeError, NameProblem, kind_of, plain
from npserver.tls.acme.settings import AcmeSettings, is_mac_key


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("CAA record forbids", "CAA record forbids"),
        ("two\r\n lines\tof text", "two lines of text"),
        ("\x1b]0;title\x07\x00", "]0;title"),
        ("\u202eright to left", "right to left"),
        ("x" * 10_000, "x" * 300),
        (None, ""),
        (7, ""),
        ({"a": 1}, ""),
    ],
)
def test_text_of_a_ca_is_one_line_that_a_terminal_can_show(text: object, kept: str) -> None:
    assert plain(text) == kept


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ("urn:ietf:params:acme:error:rateLimited", "rateLimited"),
        ("https://ca.test/errors/own", "https://ca.test/errors/own"),
        ("", "about:blank"),
        (None, "about:blank"),
    ],
)
def test_the_kind_is_the_type_without_its_prefix(given: object, kind: str) -> None:
    assert kind_of(given) == kind


@pytest.mark.parametrize(
    ("kind", "names", "is_of_ca"),
    [
        ("unreachable", (), True),
        ("rateLimited", (), True),
        ("serverInternal", (), True),
        ("wrongCertificate", (), True),
        ("noChallenge", (), False),
        ("settings", (), False),
        ("dns", (NameProblem("a.test", "dns", "no such name"),), False),
    ],
)
def test_another_ca_is_asked_unless_a_name_or_the_config_is_wrong(
    kind: str, names: tuple[NameProblem, ...], is_of_ca: bool
) -> None:
    assert AcmeError("x", kind=kind, names=names).is_of_ca is is_of_ca


def test_a_problem_names_its_name_and_quotes_the_ca() -> None:
    assert str(NameProblem("a.test", "dns", "no \x1b name")) == "a.test: 'no \\x1b name' (dns)"


@pytest.mark.parametrize(
    ("text", "is_key"),
    [
        *(("d3Jvbmc", True), ("d3Jvbmc=", True), ("-_-_", True)),
        *(("d3Jv+/==", False), ("d3Jvb", False), ("!!!", False), ("", False)),
    ],
)
def test_mac_keys_are_base64url(text: str, is_key: bool) -> None:
    assert is_mac_key(text) is is_key


def test_settings_show_no_key() -> None:
    settings = AcmeSettings(directory="https://ca.test/dir", eab_key_id="kid", eab_key="secret")
    assert repr(settings) == "<AcmeSettings https://ca.test/dir ec256>"
