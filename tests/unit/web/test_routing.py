"""The rule that a request gets."""

from __future__ import annotations

import pytest

from npserver.web.routing import Pattern, Router, parse_host, parse_pattern


def router(*rules: str) -> Router[str]:
    """A router of rules written as `host|path`, whose values are the rules themselves."""
    entries = []
    for rule in rules:
        host, _, path = rule.rpartition("|")
        entries.append((parse_host(host), parse_pattern(path), rule))
    return Router(entries)


class TestPatterns:
    @pytest.mark.parametrize(
        ("text", "path", "is_prefix"),
        [
            ("/**", "", True),
            ("/*", "", True),
            ("**", "", True),
            ("*", "", True),
            ("/", "/", False),
            ("/api/**", "/api", True),
            ("/api/*", "/api", True),
            ("/api//v1/**", "/api/v1", True),
            ("/health", "/health", False),
            ("/health/", "/health/", False),
            ("/über/**", "/%C3%BCber", True),
            ("/a b", "/a%20b", False),
            ("/%7euser/**", "/~user", True),
        ],
    )
    def test_a_pattern_has_its_form(self, text: str, path: str, is_prefix: bool) -> None:
        assert parse_pattern(text) == Pattern(path, is_prefix)

    @pytest.mark.parametrize(
        ("text", "path", "rest"),
        [
            ("/users/*/avatar", "/users", ("*", "avatar")),
            ("/*/b", "", ("*", "b")),
            ("/a/*/b/**", "/a", ("*", "b", "**")),
            ("/a/*/*", "/a", ("*", "**")),
            ("/a//*/%7e/", "/a", ("*", "~", "")),
            ("/ü/*/x y", "/%C3%BC", ("*", "x%20y")),
        ],
    )
    def test_a_star_within_is_one_segment(self, text: str, path: str, rest: tuple[str, ...]) -> None:
        assert parse_pattern(text) == Pattern(path, True, rest)

    @pytest.mark.parametrize(
        "text",
        ["", "api", "/a*", "/*/b*", "/a/***", "/*/../b", "/*/\\x", "*.php", "/a?b", "/a#b", "/../a", "/a\\b", "/%00"],
    )
    def test_what_is_no_pattern_says_why(self, text: str) -> None:
        with pytest.raises(ValueError, match="path"):
            parse_pattern(text)

    @pytest.mark.parametrize(
        ("text", "host"),
        [
            ("Example.COM", "example.com"),
            ("example.com.", "example.com"),
            ("*.Example.com", "*.example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("*.Straße.example", "*.xn--strae-oqa.example"),
            ("[::1]", "[::1]"),
            ("*", ""),
        ],
    )
    def test_a_host_has_its_form(self, text: str, host: str) -> None:
        assert parse_host(text) == host

    @pytest.mark.parametrize("text", ["a.*.com", "*a.com", "a b", "http://x", "a/b"])
    def test_what_is_no_host_says_why(self, text: str) -> None:
        with pytest.raises(ValueError, match="host"):
            parse_host(text)


class TestStars:
    @pytest.mark.parametrize(
        ("pattern", "path", "has"),
        [
            ("/users/*/avatar", "/users/joe/avatar", True),
            ("/users/*/avatar", "/users/a%2Fb/avatar", True),
            ("/users/*/avatar", "/users//avatar", False),
            ("/users/*/avatar", "/users/joe/x/avatar", False),
            ("/users/*/avatar", "/users/joe/avatar/", False),
            ("/users/*/avatar", "/users/joe/avatar/x", False),
            ("/users/*/avatar", "/users/joe", False),
            ("/users/*/avatar", "/users", False),
            ("/users/*/avatar", "/users/avatar", False),
            ("/users/*/files/**", "/users/joe/files", True),
            ("/users/*/files/**", "/users/joe/files/a/b", True),
            ("/users/*/files/**", "/users/joe/filesystem", False),
            ("/users/*/**", "/users/joe", True),
            ("/users/*/**", "/users/", False),
            ("/*/x", "/a/x", True),
        ],
    )
    def test_a_path_fits_or_not(self, pattern: str, path: str, has: bool) -> None:
        assert parse_pattern(pattern).has(path) is has

    def test_the_more_specific_comes_first(self) -> None:
        ordered = ["/a/*/b", "/a/*/b/**", "/a/*/*/c", "/a/*/**", "/a/**"]
        patterns = [parse_pattern(one) for one in reversed(ordered)]
        assert [str(one) for one in sorted(patterns, key=lambda one: one.order)] == ordered


class TestAll:
    def test_all_that_match_come_in_order(self) -> None:
        rules = ["h.x|/a/b", "h.x|/a/**", "*.x|/**", "|/a/b", "|/**", "|/other"]
        assert [*router(*rules).find_all("h.x", "/a/b")] == rules[:5]
        assert [*router(*rules).find_all("h.x", "/a/b/" + "c/" * 100)] == ["h.x|/a/**", "*.x|/**", "|/**"]


class TestPaths:
    RULES = ("/**", "/api/**", "/api/v1/**", "/api/v1", "/exact", "/deep/er/est/**")

    @pytest.mark.parametrize(
        ("path", "rule"),
        [
            ("/", "/**"),
            ("/exact", "/exact"),
            ("/exact/", "/**"),
            ("/exactly", "/**"),
            ("/api", "/api/**"),
            ("/api/", "/api/**"),
            ("/api/x", "/api/**"),
            ("/apix", "/**"),
            ("/api/v1", "/api/v1"),
            ("/api/v1/", "/api/v1/**"),
            ("/api/v1/x/y/z", "/api/v1/**"),
            ("/api/v10", "/api/**"),
            ("/deep", "/**"),
            ("/deep/er", "/**"),
            ("/deep/er/es", "/**"),
            ("/deep/er/est", "/deep/er/est/**"),
            ("/deep/er/ester/x", "/**"),
            ("/" + "a/" * 2000, "/**"),
        ],
    )
    def test_the_most_specific_wins_whatever_the_order(self, path: str, rule: str) -> None:
        for rules in (self.RULES, self.RULES[::-1]):
            found = router(*(f"|{one}" for one in rules)).find("h", path)
            assert found == f"|{rule}"

    def test_without_a_rule_for_everything_nothing_is_found(self) -> None:
        assert router("|/api/**").find("h", "/") is None
        assert router("|/api/**").find("h", "/ap") is None

    def test_long_paths_cost_no_more_than_the_longest_pattern(self) -> None:
        routes = router("|/a/**")
        looked_up: list[str] = []

        class Spy(dict[str, str]):
            def get(self, key: str, default: object = None) -> object:  # type: ignore[override]
                looked_up.append(key)
                return super().get(key, default)  # type: ignore[arg-type]

        routes._any.prefixes = Spy(routes._any.prefixes)
        assert routes.find("h", "/b" + "/x" * 1000) is None
        assert looked_up == ["/b", ""]


class TestHosts:
    def test_the_host_narrows_before_the_path(self) -> None:
        routes = router("a.com|/**", "|/api/**")
        assert routes.find("a.com", "/api/x") == "a.com|/**"
        assert routes.find("b.com", "/api/x") == "|/api/**"

    def test_rules_of_other_hosts_serve_what_the_own_do_not(self) -> None:
        routes = router("a.com|/only", "*.com|/api/**", "|/**")
        assert routes.find("a.com", "/only") == "a.com|/only"
        assert routes.find("a.com", "/api/x") == "*.com|/api/**"
        assert routes.find("a.com", "/x") == "|/**"

    def test_the_longest_wildcard_wins(self) -> None:
        routes = router("*.com|/**", "*.a.com|/**", "x.a.com|/**")
        assert routes.find("x.a.com", "/") == "x.a.com|/**"
        assert routes.find("y.a.com", "/") == "*.a.com|/**"
        assert routes.find("z.y.a.com", "/") == "*.a.com|/**"
        assert routes.find("a.com", "/") == "*.com|/**"
        assert routes.find("com", "/") is None


def test_of_two_that_nothing_tells_apart_the_first_counts() -> None:
    entries = [("", parse_pattern("/a/**"), "first"), ("", parse_pattern("/a/*"), "second")]
    routes = Router(entries)
    assert routes.find("h", "/a/b") == "first"
    assert routes.duplicates == [("second", "first")]
