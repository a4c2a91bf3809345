"""`npserver purge`: its arguments. What it removes: tests/e2e/test_cache_program.py."""

from __future__ import annotations

import pytest

from npserver.cli.purge import canonical_url, main


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://Example.com", "https://example.com/"),
        ("http://a:8080/x//y/../z?A=b", "http://a:8080/x/z?A=b"),
        ("https://a/x?", "https://a/x?"),
        ("https://a/%7euser", "https://a/~user"),
    ],
)
def test_urls_are_as_the_cache_knows_them(text: str, url: str) -> None:
    assert canonical_url(text) == url


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "expected one URL"),
        (["https://a/", "https://b/"], "expected one URL"),
        (["/path"], "expected a URL such as https://example.com/path, got '/path'"),
        (["ftp://a/"], "expected a URL such as"),
        (["https://a/%zz"], "bad percent encoding"),
        (["-all"], "unknown option '-all'"),
    ],
)
def test_invalid_usage(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert message in capsys.readouterr().err


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-help"]) == 0
    assert capsys.readouterr().out.startswith("usage: npserver purge")
