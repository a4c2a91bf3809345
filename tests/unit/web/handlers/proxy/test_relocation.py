"""Rewriting of Location and Set-Cookie for the client (RFC 9110 §10.2.2, RFC 6265 §4.1)."""

from __future__ import annotations

from typing import Any

import pytest

from npserver.web.handlers.proxy.relocation import Relocation

APP = b"app:8000"
SITE = b"site.test"


@pytest.mark.parametrize(
    ("base", "prefix", "value", "seen"),
    [
        (b"", b"", b"/x", b"/x"),
        (b"", b"", b"http://app:8000/x?y#z", b"/x?y#z"),
        (b"", b"", b"https://APP:8000/x", b"/x"),
        (b"", b"", b"//app:8000/x", b"/x"),
        (b"", b"", b"http://app:8000", b"/"),
        (b"", b"", b"http://app:8000?q", b"/?q"),
        (b"", b"", b"http://other/x", b"http://other/x"),
        (b"", b"", b"http://app:9000/x", b"http://app:9000/x"),
        (b"", b"", b"http://site.test/x", b"http://site.test/x"),
        (b"", b"", b"x/y", b"x/y"),
        (b"", b"", b"?q", b"?q"),
        (b"", b"/api", b"/x", b"/api/x"),
        (b"", b"/api", b"/", b"/api/"),
        (b"", b"/api", b"/api/x", b"/api/x"),
        (b"", b"/api", b"/apix", b"/api/apix"),
        (b"", b"/api", b"http://app:8000/x", b"/api/x"),
        (b"", b"/api", b"http://site.test/x", b"http://site.test/api/x"),
        (b"", b"/api", b"x", b"x"),
        (b"/v1", b"", b"/v1/x", b"/x"),
        (b"/v1", b"", b"/v1", b"/"),
        (b"/v1", b"", b"/v1?q", b"/?q"),
        (b"/v1", b"", b"/v10", b"/v10"),
        (b"/v1", b"/api", b"http://app:8000/v1/x", b"/api/x"),
        (b"", b"", b"http://app:8000//evil.test/x", b"http://app:8000//evil.test/x"),
    ],
)
def test_a_location_is_rewritten_for_the_client(base: bytes, prefix: bytes, value: bytes, seen: bytes) -> None:
    assert Relocation(base, prefix).location(value, APP, SITE) == seen


def test_with_the_clients_host_preserved_the_targets_address_is_not_ours() -> None:
    relocation = Relocation(b"", b"/api", rewrites_host=False)
    assert relocation.location(b"http://app:8000/x", APP, SITE) == b"http://app:8000/x"
    assert relocation.location(b"http://site.test/x", APP, SITE) == b"http://site.test/api/x"


@pytest.mark.parametrize(
    ("prefix", "value", "seen"),
    [
        (b"", b" a=b; Path=/", b" a=b; Path=/"),
        (b"/api", b" a=b; Path=/", b" a=b; Path=/api"),
        (b"/api", b" a=b;path=/x; Secure", b" a=b;path=/api/x; Secure"),
        (b"/api", b" a=b; Path=/api/x", b" a=b; Path=/api/x"),
        (b"/api", b" a=b", b" a=b"),
        (b"", b" a=b; Domain=app; HttpOnly", b" a=b; HttpOnly"),
        (b"", b" a=b; Domain=.APP", b" a=b"),
        (b"", b" a=b; Domain=site.test", b" a=b; Domain=site.test"),
        (b"/api", b" a=path=/x; X=y", b" a=path=/x; X=y"),
        (b"/api", b" __Host-a=b; Path=/; Secure", b" __Host-a=b; Path=/; Secure"),
        (b"/api", b" __hOST-a=b; Secure; Path=/", b" __hOST-a=b; Secure; Path=/"),
        (b"/api", b" __Secure-a=b; Path=/; Secure", b" __Secure-a=b; Path=/api; Secure"),
    ],
)
def test_a_cookie_is_rewritten_for_the_client(prefix: bytes, value: bytes, seen: bytes) -> None:
    assert Relocation(b"", prefix).cookie(value, APP) == seen


FIELDS = b"Location: http://app:8000/x\r\nContent-Location: /y\r\nSet-Cookie: a=b; Path=/; Domain=app\r\n"


@pytest.mark.parametrize(
    ("locations", "cookies", "seen"),
    [
        (True, True, b"Location: /p/x\r\nContent-Location: /p/y\r\nSet-Cookie: a=b; Path=/p\r\n"),
        ("host", "host", b"Location: /x\r\nContent-Location: /y\r\nSet-Cookie: a=b; Path=/\r\n"),
        (False, False, FIELDS),
        (False, True, FIELDS[: FIELDS.index(b"Set")] + b"Set-Cookie: a=b; Path=/p\r\n"),
    ],
)
def test_rewriting_is_switched_off_or_to_hosts_alone(locations: Any, cookies: Any, seen: bytes) -> None:
    assert Relocation(b"", b"/p", locations=locations, cookies=cookies).rewrite(FIELDS, APP, SITE) == seen


def test_domain_of_an_ipv6_target() -> None:
    assert Relocation().cookie(b" a=b; Domain=[::1]", b"[::1]:80") == b" a=b"


def test_only_lines_that_need_it_are_rewritten() -> None:
    fields = b"A: /x\r\nlocation:/y\r\nRefresh: 5; url=http://app:8000/z\r\nSet-Cookie: a=b; Path=/\r\n"
    assert Relocation(b"", b"/p").rewrite(fields, APP, SITE) == (
        b"A: /x\r\nlocation: /p/y\r\nRefresh: 5; url=/p/z\r\nSet-Cookie: a=b; Path=/p\r\n"
    )
