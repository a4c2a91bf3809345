"""nginx's regular expressions as our `path_regex`."""

from __future__ import annotations

import re

import pytest

from npserver.importing.expressions import files_of, literal_start, path_regex
from npserver.importing.texts import NoCounterpart


@pytest.mark.parametrize(
    ("expression", "any_case", "path", "matches"),
    [
        (r"\.php$", False, "/a/b.php", True),
        (r"\.php$", False, "/a/b.php/x", False),
        (r"^/a/(?<name>x+)", False, "/a/xxy", True),
        (r"^/a/", False, "/b/a/", False),
        (r"\.(js|css)$", True, "/X.JS", True),
        (r"^/[a-z]+$", True, "/Abc", True),
        (r"^/a$|^/b/", False, "/a", True),
        (r"^/a$|^/b/", False, "/ab/", False),
        (r"\.php$|\.asp$", False, "/x.php", True),
        (r"\.php$|\.asp$", False, "/x.phpx", False),
        (r"^/x\.*", False, "/x..y", True),
        (r"(?i)\.pdf$", False, "/x.PDF", True),
        (r"\.(?:in[ci]|sw[op])$", True, "/A.INC", True),
        (r"/(cache|logs)/.*\.(php|cgi)$", True, "/a/LOGS/b/cache/x.Php", True),
        (r"/(cache|logs)/.*\.(php|cgi)$", True, "/a/x.php/logs/", False),
        (r"^/a/.*/b/.*\.c$", False, "/a/x/b/y.c", True),
    ],
)
def test_regular_expressions(expression: str, any_case: bool, path: str, matches: bool) -> None:
    assert bool(re.fullmatch(path_regex(expression, any_case=any_case).text, path)) is matches


def test_an_expression_that_may_take_long_is_refused() -> None:
    with pytest.raises(NoCounterpart):
        path_regex("(a+)+$", any_case=False)


def test_texts_that_overlap_are_not_cut_short() -> None:
    with pytest.raises(NoCounterpart, match="may take long"):
        path_regex(r"(abcd|b).*c$.*x$", any_case=False)


@pytest.mark.parametrize(
    ("expression", "text", "excepted", "inside"),
    [
        (r"^/setup/(?!pub/).", "/setup/..*", ("/setup/pub",), ""),
        (r"^/(?!api|static/).*$", "/.*", ("/api", "/static"), ""),
        (r"^(?!/api)", ".*", ("/api",), ""),
        (r"/\.(?!well-known\/)", r".*/\..*", ("/.well-known",), r"/\.well\-known.*/\..*"),
    ],
)
def test_an_exception_is_a_prefix(expression: str, text: str, excepted: tuple[str, ...], inside: str) -> None:
    found = path_regex(expression, any_case=False)
    assert (found.text, found.excepted, found.inside) == (text, excepted, inside)


@pytest.mark.parametrize("expression", [r"^/(a|b)/(?!c)", r"^/a/(?!b)x(?!c)", r"\.(?!php)", r"^/a/(?=b)"])
def test_an_exception_elsewhere_is_refused(expression: str) -> None:
    with pytest.raises(NoCounterpart):
        path_regex(expression, any_case=False)


@pytest.mark.parametrize(
    ("expression", "alias", "files"),
    [
        (r"^/client/(.*\.(js|css))$", "/srv/dist/$1", ("/client", "/srv/dist")),
        (r"^/(libs|css)/(.*)$", "/srv/$1/$2", ("", "/srv")),
        (r"^/media/(.*)", "/", None),
        (r"^/a/(.*)$", "/srv/$1/x", None),
        (r"/a/(.*)$", "/srv/$1", None),
        (r"^/a+/(.*)$", "/srv/$1", None),
    ],
)
def test_an_alias_with_groups(expression: str, alias: str, files: tuple[str, str] | None) -> None:
    assert files_of(expression, alias) == files


def test_what_all_paths_begin_with() -> None:
    assert [literal_start(one) for one in (r"/a\.b/.*", "/ab*", ".*x", "/a|/b")] == ["/a.b/", "/a", "", ""]
