"""What one client gets is never another's: private responses, variants, and requests made to poison the cache."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from npserver.http.field_names import fold
from npserver.web.exchange import Exchange, Middleware, make_route
from npserver.web.signed_in import sign_in
from tests.protocols.caching import FRESH, Caching, caching
from tests.protocols.proxying import Origin, Stage, until


async def both(one: Caching, first: str, second: str, path: str = "/") -> tuple[bytes, bytes]:
    """Return the bodies of two requests for one path, by their fields."""
    return (await one.ask(path, first)).body, (await one.ask(path, second)).body


@pytest.mark.parametrize(
    ("request_fields", "fields"),
    [
        ("Authorization: Basic YTpi\r\n", FRESH),
        ("", FRESH + b"Set-Cookie: session=1\r\n"),
        ("", b"Cache-Control: private, max-age=60\r\n"),
        ("", b'Cache-Control: max-age=60, private="x-user"\r\n'),
        ("", b"Cache-Control: no-store, max-age=60\r\n"),
        ("", FRESH + b"Vary: *\r\n"),
        ("Cookie: session=1\r\n", FRESH),
        ("Cache-Control: no-store\r\n", FRESH),
        ("X-Original-URL: /admin\r\n", FRESH),
        ("X-Rewrite-URL: /admin\r\n", FRESH),
        ("X-HTTP-Method-Override: POST\r\n", FRESH),
        ("If-Match: \"a\"\r\n", FRESH),
    ],
    ids=lambda value: value.strip() if isinstance(value, str) else value.decode().strip(),
)  # fmt: skip
async def test_a_response_for_one_client_is_not_stored(tmp_path: Path, request_fields: str, fields: bytes) -> None:
    async with caching(tmp_path, default_ttl="1h") as one:
        one.fields = fields
        assert await both(one, request_fields, "") == (b"1", b"2")


async def test_a_request_with_a_cookie_is_not_answered_from_the_cache(tmp_path: Path) -> None:
    async with caching(tmp_path) as one:
        assert await both(one, "", "Cookie: session=1\r\n") == (b"1", b"2")
        assert (await one.ask(fields="Cookie: session=1\r\n")).cache_status == "fwd=bypass; detail=cookie"
    (directory := tmp_path / "with").mkdir(0o700)
    async with caching(directory, cookies=True) as one:
        assert await both(one, "", "Cookie: session=1\r\n") == (b"1", b"1")


async def test_public_responses_to_authorized_requests_are_shared(tmp_path: Path) -> None:
    """RFC 9111 §3.5."""
    async with caching(tmp_path) as one:
        one.fields = b"Cache-Control: public, max-age=60\r\n"
        assert await both(one, "Authorization: Basic YTpi\r\n", "") == (b"1", b"1")


class SignsIn(Middleware):
    """Adds the name of a user to each request, as `forward_auth` does."""

    def __init__(self) -> None:
        self.user = b"alice"

    def request(self, exchange: Exchange) -> None:
        exchange.request = sign_in(exchange.request, frozenset({fold(b"remote-user")}), [(b"Remote-User", self.user)])
        exchange.proceed()


async def test_what_a_signed_in_user_gets_is_not_shared(tmp_path: Path) -> None:
    async with caching(tmp_path) as one:
        signs_in = SignsIn()
        one.stage.route = make_route("dispatch[0] proxy", one.handler, 64 << 20, (signs_in,))
        assert (await one.ask()).body == b"1"
        signs_in.user = b"bob"
        assert (await one.ask()).body == b"2"
        assert b"Remote-User: bob" in one.heads[1]


# ── variants ──


async def test_each_variant_is_served_to_its_own_clients(tmp_path: Path) -> None:
    async with caching(tmp_path) as one:
        one.fields = FRESH + b"Vary: Accept-Language, Accept\r\n"
        languages = ["de", "en", "fr", "", "de, en"]
        first = [(await one.ask("/", f"Accept-Language: {one_of}\r\n")).body for one_of in languages]
        assert len(set(first)) == 5
        first.append((await one.ask("/")).body)
        again = [(await one.ask("/", f"Accept-Language: {one_of}\r\n")).body for one_of in languages]
        again.append((await one.ask("/")).body)
        assert again == first
        assert len(set(first)) == 6, "an empty field is not an absent one"


async def test_a_wrong_variant_is_never_served_even_where_their_places_collide(tmp_path: Path) -> None:
    """HAProxy 5cb932826: the whole key is compared, not its hash."""
    async with caching(tmp_path, max_variants=1) as one:
        one.fields = FRESH + b"Vary: Accept-Language\r\n"
        for turn in range(3):
            bodies = await both(one, "Accept-Language: de\r\n", "Accept-Language: en\r\n")
            assert bodies == (b"%d" % (2 * turn + 1), b"%d" % (2 * turn + 2))
        assert len(one.files) == 2, "one variant, and the names of the fields"


@pytest.mark.parametrize("failure", [False, True], ids=["304", "stale-if-error"])
async def test_a_wrong_variant_is_never_served_where_one_is_validated_while_others_wait(
    tmp_path: Path, failure: bool
) -> None:
    async with caching(tmp_path, max_variants=1, stale_on_error="1h") as one:
        one.fields = FRESH + b'Vary: Accept-Language\r\nETag: "a"\r\n'
        assert (await one.ask(fields="Accept-Language: de\r\n")).body == b"1"
        one.pass_time(60)
        one.is_held.clear()
        broken = b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n"
        one.once = [broken if failure else b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n']
        asked = []
        for number, language in enumerate(("de", "en", "de", "fr")):
            asked.append(asyncio.create_task(one.ask(fields=f"Accept-Language: {language}\r\n")))
            await until(lambda number=number: one.waiting == number + 1)  # type: ignore[misc]
        one.is_held.set()
        bodies = [answer.body for answer in await asyncio.gather(*asked)]
        assert bodies[0] == bodies[2] == b"1"
        assert sorted((bodies[1], bodies[3])) == [b"3", b"4"]


async def test_two_keys_with_one_digest_do_not_share_a_response(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Same:
        def __init__(self, *_: Any, **__: Any) -> None:
            pass

        def hexdigest(self) -> str:
            return "ab" * 20

    monkeypatch.setattr("npserver.web.handlers.proxy.cache.handler.blake2b", Same)
    async with caching(tmp_path) as one:
        assert (await one.ask("/a")).body == b"1"
        assert (await one.ask("/b")).body == b"2"
        assert (await one.ask("/a")).body == b"3"


async def test_many_variants_are_bounded(tmp_path: Path) -> None:
    async with caching(tmp_path, max_variants=4) as one:
        one.fields = FRESH + b"Vary: X-Any\r\n"
        for number in range(60):
            await one.ask("/", f"X-Any: {number}\r\n")
        assert len(one.files) <= 5


async def test_a_huge_vary_is_not_stored(tmp_path: Path) -> None:
    async with caching(tmp_path) as one:
        one.fields = FRESH + b"Vary: " + b", ".join(b"x-%d" % number for number in range(1000)) + b"\r\n"
        assert await both(one, "", "") == (b"1", b"2")
        assert one.files == []


async def test_compressed_responses_without_vary_go_only_to_those_who_asked_alike(tmp_path: Path) -> None:
    async with caching(tmp_path) as one:
        one.fields = FRESH + b"Content-Encoding: gzip\r\n"
        assert await both(one, "Accept-Encoding: gzip\r\n", "") == (b"1", b"2")


async def test_those_who_wait_for_another_variant_get_their_own(tmp_path: Path) -> None:
    async with caching(tmp_path) as one:
        one.fields = FRESH + b"Vary: Accept-Language\r\n"
        one.is_held.clear()
        asked = [
            asyncio.create_task(one.ask(fields=f"Accept-Language: {text}\r\n")) for text in ("de", "de", "en", "en")
        ]
        await until(lambda: one.waiting == 4)
        one.is_held.set()
        bodies = [answer.body for answer in await asyncio.gather(*asked)]
        assert bodies[0] == bodies[1] != bodies[2] == bodies[3]
        assert one.count == 2


async def test_a_removed_response_takes_its_variants_with_it(tmp_path: Path) -> None:
    async with caching(tmp_path) as one:
        one.fields = FRESH + b"Vary: Accept-Language\r\n"
        assert await both(one, "Accept-Language: de\r\n", "Accept-Language: en\r\n") == (b"1", b"2")
        await one.ask(method="DELETE")
        assert await both(one, "Accept-Language: de\r\n", "Accept-Language: en\r\n") == (b"4", b"5")


# ── poisoning ──


@pytest.mark.parametrize(
    "fields",
    [
        "X-Forwarded-Host: evil.test\r\n", "X-Forwarded-Proto: evil\r\n", "Forwarded: host=evil.test\r\n",
        "X_Forwarded_Host: evil.test\r\n", "X-Forwarded-Prefix: /evil\r\n",
    ],
)  # fmt: skip
async def test_what_the_upstream_is_sent_of_a_client_is_in_the_key_or_not_sent(tmp_path: Path, fields: str) -> None:
    async with caching(tmp_path) as one:
        assert await both(one, fields, "") == (b"1", b"1")
        assert b"evil" not in one.heads[0]


async def test_identity_of_a_trusted_proxy_is_in_the_key(tmp_path: Path) -> None:
    directory = {"directory": str(tmp_path)}
    one = Caching(tmp_path)
    config = {"trusted_proxies": ["127.0.0.0/8"]}
    async with Origin(one.script) as origin, Stage(origin.url, config=config, cache=directory) as one.stage:
        one._handler = one.stage.route.handler
        evil, plain = "X-Forwarded-Host: evil.test\r\n", ""
        assert await both(one, evil, plain) == (b"1", b"2")
        assert await both(one, "X-Forwarded-Proto: https\r\n", "X-Forwarded-For: 192.0.2.1\r\n") == (b"3", b"2")
        assert await both(one, evil, plain) == (b"1", b"2")
        ours = 'Forwarded: for=192.0.2.1;host=site.test, for="[2001:db8::1]:80";by=_x\r\n'
        theirs = ours.replace("192.0.2.1", "192.0.2.2")
        assert await both(one, ours, theirs) == (b"4", b"4")
        assert await both(one, theirs.replace("site", "evil"), ours) == (b"5", b"4")
        assert await both(one, 'Forwarded: for="a\\";host=evil.test"\r\n', 'Forwarded: for="a"\r\n') == (b"6", b"7")


async def test_the_port_of_host_is_in_the_key(tmp_path: Path) -> None:
    async with caching(tmp_path) as one:
        assert (await one.ask(host="site.test:1337")).body == b"1"
        assert (await one.ask()).body == b"2"


@pytest.mark.parametrize(("merge", "expected"), [(True, (b"1", b"1")), (False, (b"1", b"2"))])
async def test_repeated_slashes_are_in_the_key_where_the_upstream_is_sent_them(
    tmp_path: Path, merge: bool, expected: tuple[bytes, bytes]
) -> None:
    for key in (None, "$scheme://$authority$request_uri"):
        directory = tmp_path / str(bool(key))
        directory.mkdir(0o700)
        async with caching(directory, rule={"merge_slashes": merge}, **({"key": key} if key else {})) as one:
            assert ((await one.ask("/a//b")).body, (await one.ask("/a/b")).body) == expected


async def test_a_path_that_looks_like_a_file_says_nothing(tmp_path: Path) -> None:
    """Cache deception: /account/x.css is the account page."""
    async with caching(tmp_path) as one:
        one.fields = b"Cache-Control: private\r\nContent-Type: text/css\r\n"
        assert ((await one.ask("/account/x.css")).body, (await one.ask("/account/x.css")).body) == (b"1", b"2")


async def test_a_request_that_turns_a_response_unshareable_keeps_nobody_from_the_cache(tmp_path: Path) -> None:
    async with caching(tmp_path) as one:
        one.once = [b"HTTP/1.1 406 Not Acceptable\r\nContent-Length: 0\r\n\r\n"]
        assert (await one.ask(fields="Accept: nothing/at-all\r\n")).status == 406
        assert await both(one, "", "") == (b"2", b"2")


async def test_a_range_is_never_taken_for_the_whole(tmp_path: Path) -> None:
    async with caching(tmp_path) as one:
        one.once = [b"HTTP/1.1 200 OK\r\n" + FRESH + b"Content-Range: bytes 0-0/9\r\nContent-Length: 1\r\n\r\nx"]
        assert (await one.ask(fields="Range: bytes=0-0\r\n")).body == b"x"
        one.once = [
            b"HTTP/1.1 206 Partial Content\r\n" + FRESH + b"Content-Range: bytes 0-0/9\r\nContent-Length: 1\r\n\r\nx"
        ]
        assert (await one.ask()).status == 206, "an upstream that answers so unasked"
        assert (await one.ask()).body == b"3"


async def test_a_body_of_get_is_passed_on(tmp_path: Path) -> None:
    """A body is in no key: "fat GET" requests poison caches."""
    async with caching(tmp_path) as one:
        data = b"GET / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 1\r\n\r\nx"
        assert (await one.stage.ask(data))[2] == b"1"
        assert (await one.ask()).body == b"2"


async def test_rules_share_a_directory_but_no_response(tmp_path: Path) -> None:
    async with caching(tmp_path) as one:
        assert (await one.ask()).body == b"1"
    async with caching(tmp_path, rule={"headers": {"X-Tenant": "b"}}) as one:
        one.body = b"other"
        assert (await one.ask()).body == b"other"


@pytest.mark.parametrize("name", ["X_Original_URL", "X_HTTP_Method_Override", "Accept_Encoding", "X.Original.URL"])
async def test_names_that_applications_take_for_others_are_passed_on(tmp_path: Path, name: str) -> None:
    async with caching(tmp_path) as one:
        one.fields = FRESH + b"Vary: Accept-Encoding\r\n"
        assert await both(one, f"{name}: evil\r\n", "") == (b"1", b"2")
        assert await both(one, f"{name}: evil\r\n", "") == (b"3", b"2")


async def test_vary_names_the_fields_that_the_upstream_is_sent(tmp_path: Path) -> None:
    maps = {"lang": {"from": "$header.accept-language", "to": {"de*": "de"}, "default": "en"}}
    async with caching(tmp_path, rule={"headers": {"X-Lang": "$map.lang"}}, config={"maps": maps}) as one:
        one.fields = FRESH + b"Vary: X-Lang\r\n"
        assert await both(one, "Accept-Language: de\r\n", "Accept-Language: fr\r\n") == (b"1", b"2")
        assert await both(one, "Accept-Language: de-CH\r\n", "X-Lang: de\r\n") == (b"1", b"2")
        one.is_held.clear()
        asked = [asyncio.create_task(one.ask("/b", f"Accept-Language: {lang}\r\n")) for lang in ("de", "fr", "de-AT")]
        await until(lambda: one.waiting == 3)
        one.is_held.set()
        bodies = [(await one_of).body for one_of in asked]
        assert bodies[0] == bodies[2] != bodies[1]


@pytest.mark.parametrize("name", ["X-Forwarded-For", "X-Real-IP", "Forwarded"])
async def test_what_varies_by_the_address_of_the_client_is_not_shared(tmp_path: Path, name: str) -> None:
    async with caching(tmp_path) as one:
        one.fields = FRESH + f"Vary: {name}\r\n".encode()
        assert await both(one, "", "") == (b"1", b"2")


async def test_credentials_made_of_other_fields_count_as_credentials(tmp_path: Path) -> None:
    headers = {"Authorization": "$header.x-token", "Cookie": "$header.x-session"}
    async with caching(tmp_path, rule={"headers": headers}) as one:
        assert await both(one, "X-Token: Bearer a\r\n", "X-Token: Bearer b\r\n") == (b"1", b"2")
        assert await both(one, "X-Session: id=1\r\n", "X-Session: id=2\r\n") == (b"3", b"4")
        assert await both(one, "", "") == (b"5", b"5")
        assert await both(one, "X-Session: id=1\r\n", "") == (b"6", b"5")
