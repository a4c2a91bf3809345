"""RFC 9111 and RFC 5861: what a shared cache may store and reuse, by section. Covers `http.caching`."""

from __future__ import annotations

import pytest

from npserver.http.caching import (
    Reuse,
    age_of,
    freshness_of,
    read_directives,
    read_fields,
    reason_not_to_store,
    received_age,
    reuse,
    stale_time,
    updated_fields,
    vary_names,
    vary_values,
    without_field,
)
from npserver.http.dates import format_date

NOW = 1_800_000_000.0
FRESH = "Cache-Control: max-age=60\r\n"


def refusal(fields: str, request: str = "", status: int = 200, default_s: float = 0.0) -> str:
    response = read_fields(fields.encode())
    return reason_not_to_store(
        status, read_fields(request.encode()), response, freshness_of(status, response, default_s, NOW)
    )


@pytest.mark.parametrize(
    ("section", "fields", "request_fields", "status", "reason"),
    [
        ("3", FRESH, "", 200, ""),
        ("3 explicit freshness by Expires", f"Expires: {format_date(NOW + 60)}\r\n", "", 200, ""),
        ("3 no freshness", "Content-Type: text/css\r\n", "", 200, "no freshness"),
        ("3 a validator alone is not the origin's word", 'ETag: "a"\r\n', "", 200, "no freshness"),
        ("3 a redirect with freshness", FRESH, "", 302, ""),
        ("3 an error with freshness", FRESH, "", 404, ""),
        ("3 a status that is not understood", FRESH, "", 299, "status"),
        ("3.3 a partial answer", FRESH, "", 206, "status"),
        ("3.3 a Content-Range in a 200", FRESH + "Content-Range: bytes 0-1/5\r\n", "", 200, "status"),
        ("3.5", FRESH, "Authorization: Basic eA==\r\n", 200, "Authorization"),
        ("3.5 public", "Cache-Control: public, max-age=60\r\n", "Authorization: Basic eA==\r\n", 200, ""),
        ("3.5 s-maxage", "Cache-Control: s-maxage=60\r\n", "Authorization: Basic eA==\r\n", 200, ""),
        ("3.5 must-revalidate", FRESH + "Cache-Control: must-revalidate\r\n", "Authorization: x\r\n", 200, ""),
        ("4.1 Vary: *", FRESH + "Vary: Accept, *\r\n", "", 200, "Vary"),
        ("4.1 a huge Vary", FRESH + f"Vary: {', '.join(f'x-{n}' for n in range(17))}\r\n", "", 200, "Vary"),
        ("5.2.1.5 no-store of the request", FRESH, "Cache-Control: no-store\r\n", 200, "no-store of the request"),
        ("5.2.2.4 no-cache", 'Cache-Control: no-cache\r\nETag: "a"\r\n', "", 200, ""),
        ("5.2.2.4 no-cache without a validator", "Cache-Control: no-cache, max-age=60\r\n", "", 200, "no freshness"),
        ("5.2.2.5 no-store", "Cache-Control: max-age=60, no-store\r\n", "", 200, "no-store"),
        ("5.2.2.5 in two lines, in capitals", FRESH + "cache-control: NO-STORE\r\n", "", 200, "no-store"),
        ("5.2.2.7 private", "Cache-Control: private, max-age=60\r\n", "", 200, "private"),
        ("5.2.2.7 private with names", 'Cache-Control: max-age=60, private="x-a, x-b"\r\n', "", 200, "private"),
        ("5.2.2.7 without its comma", "Cache-Control: max-age=60 private\r\n", "", 200, "private"),
        ("5.2.2.7 within a text without its end", 'Cache-Control: max-age=60, a="b, private\r\n', "", 200, "private"),
        ("5.2.2.7 within a text", 'Cache-Control: max-age=60, a="b, private"\r\n', "", 200, ""),
        ("5.2.2.10 s-maxage=0 before max-age", "Cache-Control: s-maxage=0, max-age=60\r\n", "", 200, "no freshness"),
        ("7.3 Set-Cookie", FRESH + "Set-Cookie: a=b\r\n", "", 200, "Set-Cookie"),
        ("a challenge", FRESH + "WWW-Authenticate: Basic\r\n", "", 403, "authentication"),
        ("5.1 older than its lifetime", FRESH + "Age: 60\r\n", "", 200, "no freshness"),
    ],
)
def test_section_3_what_is_stored(section: str, fields: str, request_fields: str, status: int, reason: str) -> None:
    assert refusal(fields, request_fields, status) == reason, section


@pytest.mark.parametrize(
    ("status", "fields", "reason"),
    [
        (200, "", ""),
        (404, "", ""),
        (302, "", "no freshness"),
        (500, "", "no freshness"),
        (200, "Pragma: no-cache\r\n", "no freshness"),
        (200, "Cache-Control: max-age=0\r\n", "no freshness"),
        (200, "Expires: 0\r\n", "no freshness"),
    ],
)
def test_section_4_2_2_a_default_only_where_the_origin_says_nothing(status: int, fields: str, reason: str) -> None:
    assert refusal(fields, status=status, default_s=60.0) == reason


@pytest.mark.parametrize(
    ("fields", "lifetime_s"),
    [
        ("Cache-Control: s-maxage=5, max-age=60", 5),
        (f"Cache-Control: max-age=60\r\nExpires: {format_date(NOW + 900)}", 60),
        (f"Expires: {format_date(NOW + 900)}", 900),
        (f"Expires: {format_date(NOW - 900)}", 0),
        ("Expires: tomorrow", 0),
        ("Cache-Control: max-age=60, max-age=7", 7),
        ("Cache-Control: max-age=7, max-age=60", 7),
        ("Cache-Control: max-age=-1", 0),
        ("Cache-Control: max-age=1.5", 0),
        ('Cache-Control: max-age="60"', 60),
        ("Cache-Control: max-age=999999999999999999999999", 2**31),
        ("Cache-Control: no-cache, max-age=60", 0),
    ],
)
def test_section_4_2_1_lifetime(fields: str, lifetime_s: float) -> None:
    assert freshness_of(200, read_fields(fields.encode()), 0.0, NOW).lifetime_s == lifetime_s


@pytest.mark.parametrize(
    ("response", "age_s", "request_fields", "expected"),
    [
        ("max-age=60", 59, "", Reuse.FRESH),
        ("max-age=60", 60, "", Reuse.STALE),  # by the config's 10 s
        ("max-age=60", 70, "", Reuse.VALIDATE),
        ("max-age=60, must-revalidate", 60, "", Reuse.VALIDATE),
        ("max-age=60, proxy-revalidate", 60, "", Reuse.VALIDATE),
        ("s-maxage=60", 60, "", Reuse.VALIDATE),  # §5.2.2.10
        ("s-maxage=60, stale-while-revalidate=5", 64, "", Reuse.STALE),  # RFC 5861 §3: the origin's own word
        ("max-age=60, stale-while-revalidate=5", 66, "", Reuse.VALIDATE),
        ("max-age=60, stale-while-revalidate=99", 100, "", Reuse.STALE),
        ("no-cache", 0, "", Reuse.VALIDATE),
        ("max-age=60", 1, "Cache-Control: no-cache\r\n", Reuse.VALIDATE),  # §5.2.1.4
        ("max-age=60", 1, "Pragma: no-cache\r\n", Reuse.VALIDATE),  # §5.4
        ("max-age=60", 5, "Cache-Control: max-age=4\r\n", Reuse.VALIDATE),  # §5.2.1.1
        ("max-age=60", 5, "Cache-Control: max-age=5\r\n", Reuse.FRESH),
        ("max-age=60", 50, "Cache-Control: min-fresh=20\r\n", Reuse.VALIDATE),  # §5.2.1.3
        ("max-age=60", 50, "Cache-Control: min-fresh=5\r\n", Reuse.FRESH),
    ],
)
def test_section_4_2_reuse(response: str, age_s: float, request_fields: str, expected: Reuse) -> None:
    freshness = freshness_of(200, {b"cache-control": response.encode()}, 0.0, NOW)
    assert reuse(freshness, age_s, read_fields(request_fields.encode()), 10.0) is expected


@pytest.mark.parametrize(
    ("response", "seconds"),
    [
        ("max-age=1", 30),
        ("max-age=1, stale-if-error=7", 7),
        ("max-age=1, must-revalidate, stale-if-error=7", 0),
        ("s-maxage=1", 0),
    ],
)
def test_rfc_5861_section_4_stale_if_error(response: str, seconds: float) -> None:
    freshness = freshness_of(200, {b"cache-control": response.encode()}, 0.0, NOW)
    assert stale_time(freshness, freshness.stale_on_error_s, 30.0) == seconds


def test_section_4_2_3_age() -> None:
    assert received_age({b"age": b"7"}, 0.5) == 7.5
    assert received_age({b"age": b"x"}, 0.5) == 0.5
    assert received_age({}, 0.25) == 0.25
    assert age_of(7.5, NOW, NOW + 10) == 17.5
    assert age_of(7.5, NOW, NOW - 10) == 7.5, "the clock was put back"


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ("", ()),
        ("Vary: Accept, accept-language,\r\nVary: ACCEPT\r\n", (b"accept", b"accept-language")),
        ("Content-Encoding: gzip\r\n", (b"accept-encoding",)),
        ("Content-Encoding: identity\r\n", ()),
        ("Vary: *\r\n", None),
    ],
)
def test_section_4_1_vary(fields: str, names: tuple[bytes, ...] | None) -> None:
    assert vary_names(read_fields(fields.encode())) == names


def test_section_4_1_values() -> None:
    names = (b"accept", b"accept-language")
    assert vary_values(names, {b"accept": b"a,b"}) == vary_values(names, {b"accept": b"a ,  b"})
    assert vary_values(names, {b"accept": b"a,b"}) != vary_values(names, {b"accept": b"b,a"})
    assert vary_values(names, {}) != vary_values(names, {b"accept": b"", b"accept-language": b""})


def test_section_3_2_and_4_3_4_update_of_stored_fields() -> None:
    stored = b'Content-Type: text/css\r\nETag: "a"\r\nX-One: old\r\nX-One: older\r\nCache-Control: max-age=1\r\n'
    update = b"Content-Type: text/plain\r\nx-one: new\r\nCache-Control: max-age=9\r\nContent-Length: 0\r\n"
    expected = b'Content-Type: text/css\r\nETag: "a"\r\nx-one: new\r\nCache-Control: max-age=9\r\n'
    assert updated_fields(stored, update) == expected


def test_section_5_2_directives() -> None:
    found = read_directives(b'Max-Age=5, ,private="a, no-store", x=y;no-cache')
    assert found == {b"max-age": b"5", b"private": b"a, no-store", b"x": b"y", b"no-cache": b""}
    assert read_directives(None) == {}
    assert without_field(b"Age: 5\r\nB: c\r\n", b"age") == b"B: c\r\n"
    assert without_field(b"Pages: 5\r\n", b"age") == b"Pages: 5\r\n"
