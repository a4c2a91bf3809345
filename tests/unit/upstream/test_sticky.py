"""Cookies that keep a client at one target."""

from __future__ import annotations

import pytest

from npserver.upstream.sticky import cookie_line, cookie_value, find_cookie


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
        assert cookie_line("t", b"1", None, secure=False) == b"Set-Cookie: t=1; Path=/; HttpOnly; SameSite=Lax\r\n"
        assert b"; Max-Age=60; Secure\r\n" in cookie_line("t", b"1", 60.0, secure=True)
