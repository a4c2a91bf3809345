"""DNS cookies (RFC 7873, RFC 9018)."""

from __future__ import annotations

import pytest

from npserver.dns.message.cookies import CookieJar

NOW = 1_700_000_000


class TestCookies:
    jar = CookieJar(b"key of sixteen by")

    def made(self, client: str = "192.0.2.1", now: int = NOW) -> bytes:
        answer = self.jar.answer(b"client--", client, now)
        assert answer is not None
        assert not answer[1]
        return answer[0]

    def test_a_cookie_has_the_standard_layout(self) -> None:  # RFC 9018 §4
        cookie = self.made()
        assert cookie[:8] == b"client--"
        assert len(cookie) == 24
        assert int.from_bytes(cookie[12:16], "big") == NOW

    def test_our_own_cookie_is_valid(self) -> None:
        cookie = self.made()
        assert self.jar.answer(cookie, "192.0.2.1", NOW + 60) == (cookie, True)

    @pytest.mark.parametrize("client", ["192.0.2.2", "2001:db8::1"])
    def test_a_cookie_is_not_valid_for_another_client(self, client: str) -> None:
        answer = self.jar.answer(self.made(), client, NOW)
        assert answer is not None
        assert not answer[1]

    def test_a_cookie_is_not_valid_with_another_key(self) -> None:
        answer = CookieJar(b"another").answer(self.made(), "192.0.2.1", NOW)
        assert answer is not None
        assert not answer[1]

    def test_a_cookie_is_renewed_after_half_an_hour(self) -> None:  # RFC 9018 §4.3
        cookie = self.made()
        answer = self.jar.answer(cookie, "192.0.2.1", NOW + 1900)
        assert answer is not None
        assert answer[1]
        assert answer[0] == self.made(now=NOW + 1900) != cookie

    @pytest.mark.parametrize(("age", "valid"), [(3600, True), (3601, False), (-300, True), (-301, False)])
    def test_a_cookie_lives_for_an_hour(self, age: int, valid: bool) -> None:
        answer = self.jar.answer(self.made(), "192.0.2.1", NOW + age)
        assert answer is not None
        assert answer[1] is valid

    @pytest.mark.parametrize("size", [0, 1, 7, 9, 15, 41, 100])
    def test_a_malformed_cookie_is_refused(self, size: int) -> None:  # RFC 7873 §5.2.2
        assert self.jar.answer(b"c" * size, "192.0.2.1", NOW) is None

    @pytest.mark.parametrize("size", [8, 16, 24, 40])
    def test_other_servers_cookies_are_replaced(self, size: int) -> None:
        answer = self.jar.answer(b"c" * size, "192.0.2.1", NOW)
        assert answer is not None
        assert len(answer[0]) == 24
        assert not answer[1]
