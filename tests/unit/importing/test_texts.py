"""nginx's texts in our words."""

from __future__ import annotations

import re

import pytest

from npserver.importing.texts import NoCounterpart, body, path_regex, seconds, size, text


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("https://$host$request_uri", "https://$host$request_uri"),
        ("/x$is_args$args", "/x$query"),
        ("/x?$args", "/x$query"),
        ("${scheme}_$http_user_agent", "${scheme}_${header.user-agent}"),
        ("$mine", "value"),
    ],
)
def test_variables(theirs: str, ours: str) -> None:
    assert text(theirs, {"mine": "value"}) == ours


@pytest.mark.parametrize("theirs", ["$unknown", "${file:/etc/passwd}", "a$", "$1"])
def test_what_has_no_counterpart(theirs: str) -> None:
    with pytest.raises(NoCounterpart):
        text(theirs)


@pytest.mark.parametrize(
    ("expression", "any_case", "path", "matches"),
    [
        (r"\.php$", False, "/a/b.php", True),
        (r"\.php$", False, "/a/b.php/x", False),
        (r"^/a/(?<name>x+)", False, "/a/xxy", True),
        (r"^/a/", False, "/b/a/", False),
        (r"\.(js|css)$", True, "/X.JS", True),
        (r"^/[a-z]+$", True, "/Abc", True),
        (r"/\.(?!well-known).*", False, "/.well-known/x", False),
        (r"/\.(?!well-known).*", False, "/x/.git/config", True),
    ],
)
def test_regular_expressions(expression: str, any_case: bool, path: str, matches: bool) -> None:
    assert bool(re.fullmatch(path_regex(expression, any_case=any_case), path)) is matches


def test_an_expression_that_may_take_long_is_refused() -> None:
    with pytest.raises(NoCounterpart):
        path_regex("(a+)+$", any_case=False)


def test_sizes_and_times() -> None:
    assert [size("8M"), size("0"), seconds("1m30s"), seconds("75"), seconds("500ms")] == ["8m", 0, 90, 75, 0.5]
    for wrong in ("x", "", "1x", "9" * 30):
        with pytest.raises(NoCounterpart):
            seconds(wrong)


def test_escapes_in_bodies() -> None:
    assert body(r"ok\n", {}) == "ok\n"
