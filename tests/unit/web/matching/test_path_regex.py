"""Which regular expressions are taken for paths, and what they match."""

from __future__ import annotations

from time import perf_counter

import pytest

from npserver.web.matching.path_regex import MAX_PATH, compile_path_regex, matches


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        (r"/\d+", "/12", True),
        (r"/\d+", "/12a", False),
        (r"/\d+", "/x/12", False),
        (r".*\.php", "/a/b.php", True),
        (r".*\.php", "/a/b.php7", False),
        (r"^/(en|es|fr)/[^/]+/\w+$", "/es/x/y", True),
        (r"/(?:a|b)?c{2,4}x*", "/bccc", True),
        (r"/(ab|cd)+", "/abcdab", True),
        (r"/.*", "/" + "a" * (MAX_PATH - 1), True),
        (r"/.*", "/" + "a" * MAX_PATH, False),
        (r"[^.]*", "/no-dot", True),
        (r"/(?P<year>\d{4})-(?P<month>\d\d)", "/2024-05", True),
        (r"(?>.*?/(?:cache|logs)/).*\.(php|cgi)", "/a/cache/b/x.php", True),
        (r"(?>.*?/(?:cache|logs)/).*\.(php|cgi)", "/a/logs/logs/x.cgi", True),
        (r"(?>.*?/(?:cache|logs)/).*\.(php|cgi)", "/x.php/cache/", False),
    ],
)
def test_a_pattern_is_of_the_whole_path(text: str, path: str, expected: bool) -> None:
    assert matches(compile_path_regex(text), path) is expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (r"/(a+)+", "repeat within a repeat"),
        (r"/(a*)*b", "repeat within a repeat"),
        (r"/(?:/\w+)*", "repeat within a repeat"),
        (r"/(a|ab)*", "can be read in several ways"),
        (r"/(a|a)+b", "can be read in several ways"),
        (r"/.*a.*b.*", "end at many places"),
        (r"/.*a(?>.*?b).*c", "end at many places"),
        (r"(?>/.*a.*b).*c", "end at many places"),
        (r"/(?>a+)+", "repeat within a repeat"),
        (r"(?>.*?/%7ejoe)", "never matches: a path has '~' where it has '%7e'"),
        (r"/[a-z]+[a-z0-9]+[0-9]+x", "end at many places"),
        (r"/(a*|b)(a*|b)(a*|b)", "end at many places"),
        ("/" + "a?" * 30 + "a" * 30, "end at many places"),
        ("/" + "([ab]x?|[bc]y?)" * 30, "end at many places"),
        (r"/(a?){200}", "repeat within a repeat"),
        (r"/(a{1,300}){300}", "repeat"),
        (r"/(a{250}){250}(x{9999})", "repeat"),
        (r"/(|a)+", "repeat"),
        (r"/(.)\1", "not supported"),
        (r"/(?=a)a", "not supported"),
        (r"(?i)/a", "flags"),
        (r"/(?i:a)", "not supported"),
        (r"/(", "is not a regular expression"),
        (r"\.php$", "describes the whole path"),
        (r"", "describes the whole path"),
        (r"/" + "a" * 1024, "more than 1024"),
        ("/ä", "never matches: a path has '%C3%A4' where it has 'ä'"),
        ("/a b", "never matches: a path has '%20' where it has ' '"),
        ("/%7ejoe", "never matches: a path has '~' where it has '%7e'"),
        ("/%c3%a4", "never matches: a path has '%C3' where it has '%c3'"),
        ("/(en|ä)/.*", "never matches: a path has '%C3%A4' where it has 'ä'"),
        ("/(%7e)?x", "never matches: a path has '~' where it has '%7e'"),
    ],
)
def test_a_pattern_without_bound_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compile_path_regex(text)


def test_an_atomic_group_is_not_tried_again() -> None:
    pattern = compile_path_regex(r"(?>.*?/cache/).*\.(?:php|cgi)x")
    path = "/cache" * (MAX_PATH // 6) + "/"
    started = perf_counter()
    assert not matches(pattern, path)
    assert perf_counter() - started < 0.5
