"""Request smuggling (RFC 9112 §11.2): every byte that the upstream receives belongs to a request that we parsed."""

from __future__ import annotations

import pytest

from tests.protocols.proxying import Origin, Stage, answering, get, ok, until

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


def request(fields: bytes, body: bytes = b"") -> bytes:
    return b"POST / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n" + body


class TestNothingReachesTheUpstream:
    @pytest.mark.parametrize(
        "data",
        [
            request(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n" + SMUGGLED),
            request(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n" + SMUGGLED),
            request(b"Content-Length: 0\r\nContent-Length: 35\r\n", SMUGGLED),
            request(b"Content-Length: 0, 35\r\n", SMUGGLED),
            request(b"Content-Length: +5\r\n", b"hello"),
            request(b"Content-Length: \r\n"),
            request(b"Content-Length: 0x5\r\n", b"hello"),
            request(b"Content-Length: 1_0\r\n", b"0123456789"),
            request(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"),
            request(b"Transfer-Encoding: chunked, identity\r\n", b"0\r\n\r\n"),
            request(b"Transfer-Encoding: identity\r\nContent-Length: 35\r\n", SMUGGLED),
            request(b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n"),
            request(b"Transfer-Encoding:\x0bchunked\r\n", b"0\r\n\r\n"),
            request(b" Transfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
            request(b"X: a\r\n Transfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
            request(b"X: a\rTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
            request(b"X: a\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
            request(b"X: a\0b\r\n"),
            request(b": empty\r\n"),
            request(b"no colon\r\n"),
            request(b"Host: b\r\n"),
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /a/..;/b HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /a%00 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /\\..\\a HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET / a HTTP/1.1\r\nHost: a\r\n\r\n",
            b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
        ],
    )
    async def test_an_ambiguous_request_is_refused(self, data: bytes) -> None:
        async with Origin(answering(ok())) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            await client.send(data)
            status = (await client.answer())[0]
            assert 400 <= status < 600
            assert await client.rest() == b""  # and the connection is closed
            assert origin.seen == b""

    @pytest.mark.parametrize(
        "chunks",
        [
            b"5\r\nhelloXX\r\n0\r\n\r\n" + SMUGGLED,
            b"5\nhello\r\n0\r\n\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"-5\r\nhello\r\n0\r\n\r\n",
            b"0x5\r\nhello\r\n0\r\n\r\n",
            b"fffffffffffffffff\r\nhello",
            b"5;\x00\r\nhello\r\n0\r\n\r\n",
            b"0\r\nbad trailer\r\n\r\n",
        ],
    )
    async def test_bad_chunks_end_the_upstream_request_unfinished(self, chunks: bytes) -> None:
        async with Origin(answering(ok())) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            await client.send(request(b"Transfer-Encoding: chunked\r\n", chunks))
            assert (await client.answer())[0] == 400
            assert await client.rest() == b""
            await until(lambda: stage.loads == [0])
            assert b"smuggled" not in origin.seen
            assert not origin.seen.endswith(b"\r\n0\r\n\r\n")
            assert not stage.proxy.upstream.targets[0].pool.idle


class TestOneViewOfTheRequest:
    async def test_path_passed_on_is_the_one_matched(self) -> None:
        async with Origin(answering(ok())) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            for target in ("//a//b", "/a/./b", "/x/../a/b", "/%61/%62", "http://site.test/a/b"):
                await client.ask(get(target))
            lines = [head.split(b"\r\n")[0] for head in origin.seen.split(b"\r\n\r\n")[:-1]]
            assert lines == [b"GET /a/b HTTP/1.1"] * 5

    async def test_host_of_the_absolute_form_wins_rfc9112_3_2_2(self) -> None:
        async with Origin(answering(ok())) as origin, Stage(origin.url, preserve_host=True) as stage:
            await stage.ask(get("http://real.test/x", host="forged.test"))
            assert b"\r\nHost: real.test\r\n" in origin.seen
            assert b"forged" not in origin.seen

    async def test_bytes_after_a_body_are_the_next_request_and_ours_to_read(self) -> None:
        async with Origin(answering(ok())) as origin, Stage(origin.url) as stage:
            client = await stage.client()
            await client.send(request(b"Content-Length: 2\r\n", b"hi") + get("/next", "X-Forwarded-For: 6.6.6.6\r\n"))
            for _ in range(2):
                assert (await client.answer())[0] == 200
            assert b"GET /next HTTP/1.1\r\nHost: 127.0.0.1" in origin.seen
            assert b"6.6.6.6" not in origin.seen


class TestForgedIdentity:
    FORGED = (
        "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 1\r\n"
        "X-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6;host=evil\r\nX_Forwarded_For: 6.6.6.6\r\nX_Real_IP: 6.6.6.6\r\n"
        "X-Forwarded_Host: evil\r\n"
    )

    async def test_an_identity_sent_by_anybody_is_replaced(self) -> None:
        async with Origin(answering(ok())) as origin, Stage(origin.url, forwarded=True) as stage:
            await stage.ask(get("/", self.FORGED))
            seen = origin.seen
            assert b"6.6.6.6" not in seen
            assert b"evil" not in seen
            assert b"_" not in seen
            assert b"\r\nX-Forwarded-For: 127.0.0.1\r\n" in seen
            assert b"\r\nX-Forwarded-Proto: http\r\n" in seen
            assert b"\r\nForwarded: for=127.0.0.1;proto=http;host=site.test\r\n" in seen

    async def test_ours_cannot_be_named_away(self) -> None:
        fields = "Connection: close, X-Forwarded-For, X-Forwarded-Host, X-Real-IP, Host, CDN-Loop, Content-Length\r\n"
        async with Origin(answering(ok())) as origin, Stage(origin.url) as stage:
            await stage.ask(get("/", fields))
            for name in (b"Host", b"X-Forwarded-For", b"X-Forwarded-Host", b"X-Real-IP", b"CDN-Loop"):
                assert origin.seen.count(b"\r\n" + name + b": ") == 1

    async def test_from_a_trusted_proxy_is_extended(self) -> None:
        fields = (
            "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Host: public.test\r\nX-Forwarded-Proto: https\r\n"
            "X-Real-IP: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\nForwarded: for=192.0.2.7\r\n"
            "Connection: X-Forwarded-For, X-Forwarded-Proto\r\n"
        )
        config = {"trusted_proxies": ["127.0.0.0/8"]}
        async with Origin(answering(ok())) as origin, Stage(origin.url, config=config, forwarded=True) as stage:
            await stage.ask(get("/", fields))
            seen = origin.seen
            assert b"6.6.6.6" not in seen
            assert b"\r\nX-Forwarded-For: 192.0.2.7, 127.0.0.1\r\n" in seen
            assert b"\r\nX-Real-IP: 192.0.2.7\r\n" in seen
            assert b"\r\nX-Forwarded-Proto: https\r\n" in seen
            assert b"\r\nX-Forwarded-Host: public.test\r\n" in seen
            assert seen.index(b"\r\nForwarded: for=192.0.2.7\r\n") < seen.index(
                b"\r\nForwarded: for=127.0.0.1;proto=http;host=site.test\r\n"
            )

    async def test_trailers_cannot_carry_it(self) -> None:
        async with Origin(answering(ok())) as origin, Stage(origin.url) as stage:
            body = b"2\r\nhi\r\n0\r\nX-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-T: 1\r\n\r\n"
            assert (await stage.ask(request(b"Transfer-Encoding: chunked\r\n", body)))[0] == 200
            assert b"6.6.6.6" not in origin.seen
            assert b"X-T: 1" in origin.seen


#: Spellings that applications behind CGI, FastCGI, WSGI or PHP take for the same field (RFC 3875 §4.1.18).
SPELLINGS = ["X_Client_Subject", "X-Client_Subject", "x_client-subject", "X.Client.Subject", "X~Client!Subject"]


class TestAlikeNames:
    """A field that we set, remove, trust or frame with comes through in no other spelling."""

    @pytest.mark.parametrize("spelling", SPELLINGS)
    @pytest.mark.parametrize(
        ("changes", "kept"),
        [
            ({"X-Client-Subject": "CN=ours"}, b"X-Client-Subject: CN=ours"),
            ({"X-Client-Subject": None}, b""),
            ({"+X-Client-Subject": "CN=ours"}, b"X-Client-Subject: CN=ours"),
            ({"X_Client_Subject": "CN=ours"}, b"X_Client_Subject: CN=ours"),
            ({"X-Client-Subject": "$client_ip"}, b"X-Client-Subject: 127.0.0.1"),
        ],
    )
    async def test_of_a_field_that_the_config_changes(
        self, spelling: str, changes: dict[str, str | None], kept: bytes
    ) -> None:
        async with Origin(answering(ok())) as origin, Stage(origin.url, headers=changes) as stage:
            for _ in range(3):  # parsed, then from the caches
                await stage.ask(get("/", f"{spelling}: CN=admin\r\nX-Other_Field: stays\r\n"))
            assert b"admin" not in origin.seen
            assert not kept or origin.seen.count(kept) == 3
            assert origin.seen.count(b"X-Other_Field: stays") == 3

    async def test_a_field_that_is_added_to_may_come_as_it_is_spelled(self) -> None:
        async with Origin(answering(ok())) as origin, Stage(origin.url, headers={"+X-Tag": "ours"}) as stage:
            await stage.ask(get("/", "X-Tag: theirs\r\nX_Tag: forged\r\n"))
            assert b"X-Tag: theirs\r\n" in origin.seen
            assert b"X-Tag: ours\r\n" in origin.seen
            assert b"forged" not in origin.seen

    @pytest.mark.parametrize("sign", "_.!#$%&'*+^`|~")
    async def test_of_framing_and_identity(self, sign: str) -> None:
        names = ["Transfer-Encoding", "Content-Length", "Keep-Alive", "X-Real-IP", "X-Forwarded-For", "X-Forwarded-X"]
        fields = "".join(f"{name.replace('-', sign)}: forged\r\n" for name in names)
        async with Origin(answering(ok())) as origin, Stage(origin.url) as stage:
            assert (await stage.ask(get("/", fields)))[0] == 200
            assert b"forged" not in origin.seen

    async def test_from_a_trusted_proxy(self) -> None:
        config = {"trusted_proxies": ["127.0.0.0/8"]}
        async with Origin(answering(ok())) as origin, Stage(origin.url, config=config) as stage:
            await stage.ask(get("/", "X-Forwarded-Port: 8443\r\nX_Forwarded_Port: 1\r\nX.Real.IP: 6.6.6.6\r\n"))
            assert b"X-Forwarded-Port: 8443\r\n" in origin.seen
            assert b"X_Forwarded_Port" not in origin.seen
            assert b"6.6.6.6" not in origin.seen

    async def test_in_trailers(self) -> None:
        trailers = "".join(
            f"{name}: forged\r\n"
            for name in ["X_Forwarded_For", "X-Forwarded-Anything", "Content_Length", "Transfer.Encoding", *SPELLINGS]
        )
        body = b"2\r\nhi\r\n0\r\nX-Client-Subject: forged\r\nX-T: 1\r\n" + trailers.encode() + b"\r\n"
        headers = {"X-Client-Subject": "CN=ours"}
        async with Origin(answering(ok())) as origin, Stage(origin.url, headers=headers) as stage:
            assert (await stage.ask(request(b"Transfer-Encoding: chunked\r\n", body)))[0] == 200
            assert b"forged" not in origin.seen
            assert b"X-T: 1" in origin.seen
