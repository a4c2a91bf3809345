"""Cookies that keep a client at one target."""

from __future__ import annotations

import pytest

from npserver.config.units import Seconds
from npserver.upstream.config import Sticky
from npserver.upstream.sticky import cookie_fault, cookie_line, cookie_name, cookie_value, find_cookie


class TestSticky:
    @pytest.mark.parametrize(
        ("cookies", "value"),
        [
            (b"", None),
            (b"t=1", b"1"),
            (b"a=b; t=1; c=d", b"1"),
            (b"xt=0; t=1", b"1"),
            (b"a=t=9; t=1", b"1"),
            (b't="1"', b"1"),
            (b"t=1; t=2", b"1"),
            (b"xt=1", None),
        ],
    )
    def test_a_cookie_is_found_by_its_name(self, cookies: bytes, value: bytes | None) -> None:
        assert find_cookie(cookies, b"t") == value

    def test_a_value_does_not_tell_the_address(self) -> None:
        value = cookie_value("http://10.0.0.1:80")
        assert b"10" not in value or b"10.0" not in value
        assert value != cookie_value("http://10.0.0.2:80")
        assert len(value) == 16

    def test_a_line_has_the_attributes(self) -> None:
        assert cookie_line(b"t", b"1", Sticky()) == b"Set-Cookie: t=1; Path=/; HttpOnly; SameSite=Lax\r\n"
        line = cookie_line(b"t", b"1", Sticky(max_age=Seconds(60), secure=True, same_site="none"))
        assert line == b"Set-Cookie: t=1; Path=/; HttpOnly; SameSite=None; Max-Age=60; Secure\r\n"

    def test_default_names_differ_by_upstream(self) -> None:
        assert cookie_name(Sticky(cookie="srv"), "app") == b"srv"
        assert cookie_name(Sticky(), "app") == b"npserver_target_app"
        odd = [cookie_name(Sticky(), name) for name in ("a b", "a;b", "\u00e4b", "a-b")]
        assert len(set(odd)) == 4
        assert all(name.startswith(b"npserver_target_") and not set(name) & set(b" ;=,") for name in odd)

    @pytest.mark.parametrize(
        ("sticky", "fault"),
        [
            (Sticky(cookie="srv"), ""),
            (Sticky(cookie="__Host-srv", secure=True), ""),
            (Sticky(cookie="__host-srv"), "'secure': true"),
            (Sticky(cookie="__Secure-srv"), "'secure': true"),
            (Sticky(same_site="none"), "'secure': true"),
            (Sticky(same_site="none", secure=True), ""),
            (Sticky(cookie="a b"), "letters, digits"),
            (Sticky(cookie=""), "letters, digits"),
            (Sticky(cookie="s\u00fc\u00df"), "letters, digits"),
        ],
    )
    def test_cookies_that_browsers_refuse_are_errors(self, sticky: Sticky, fault: str) -> None:
        """RFC 6265bis \u00a74.1.3, \u00a75.5."""
        assert fault in cookie_fault(sticky)
        assert bool(fault) is bool(cookie_fault(sticky))
