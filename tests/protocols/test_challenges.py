"""Answers to a CA's challenges: over HTTP (RFC 8555 §8.3), in TLS handshakes (RFC 8737), by DNS (RFC 8555 §8.4).

Covers `web.challenges`, `dns.zone.added_texts` and `tls.acme.answering.answers`.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import httpx
import pytest

import npserver
from npserver.tls.acme.answering.answers import ANSWERS, Answers

HTTP = Answers(http={"token": "token.thumbprint"})
PATH = "/.well-known/acme-challenge/token"

ZONES: dict[str, Any] = {
    "dns": {
        "example.test": {"A": "192.0.2.1", "TXT": "v=spf1 -all"},
        "*.wild.example.test": {"TXT": "any"},
        "_acme-challenge.alias.example.test": {"CNAME": "elsewhere.test"},
        "_acme-challenge.kept.example.test": {"TXT": "kept"},
        "sub.example.test": {"NS": "ns.elsewhere.test"},
    },
    "dns_zones": ["example.test"],
}


@asynccontextmanager
async def serving(
    certificates: Callable[..., Any], *web: dict[str, Any], **config: Any
) -> AsyncIterator[tuple[npserver.Server, Any]]:
    """Serve rules over HTTP and HTTPS, by default one that redirects all. Yield the process's answers, too."""
    issued = certificates("localhost", "127.0.0.1")
    listen = [
        {"name": "web", "uri": "http://127.0.0.1:0"},
        {"name": "secure", "uri": "https://127.0.0.1:0"},
        {"name": "ssl", "uri": "ssl://127.0.0.1:0"},
        {"name": "dns", "uri": "udp://127.0.0.1:0"},
    ]
    redirect = {"handler": "redirect", "to": "https://$host$path", "status": 308}
    rules = [
        *({"listener": ["web", "secure"], **rule} for rule in web or (redirect,)),
        {"handler": "forward", "listener": "ssl", "forward_to": "tcp://127.0.0.1:1"},
        {"handler": "dns", "listener": "dns"},
    ]
    made = {"listen": listen, "dispatch": rules, "tls": issued.config, **config}
    async with npserver.serve(made, shutdown_s=0) as server:
        yield server, ANSWERS.of(server._single.data_plane.context)


async def status_of(server: npserver.Server, path: str = PATH, method: str = "GET", **options: Any) -> tuple[int, str]:
    name = "secure" if options else "web"
    async with httpx.AsyncClient(base_url=server.url(name), verify=False, **options) as client:
        answer = await client.request(method, path)
    return answer.status_code, answer.text


class TestHttp:
    @pytest.mark.parametrize("conditions", [{"match": {"method": "GET"}}, {"from": "127.0.0.1"}])
    async def test_a_token_comes_before_rules_with_conditions(
        self, certificates: Callable[..., Any], conditions: dict[str, Any]
    ) -> None:
        rule = {"handler": "respond", "body": "rule", **conditions}
        async with serving(certificates, rule, {"handler": "respond", "body": "other"}) as (server, answers):
            assert await status_of(server) == (200, "rule")
            answers.answers = HTTP
            for _ in range(3):
                assert await status_of(server) == (200, "token.thumbprint")
            assert await status_of(server, http2=True) == (200, "token.thumbprint")
            assert (await status_of(server, method="POST"))[1] == ("other" if "match" in conditions else "rule")

    @pytest.mark.parametrize("options", [{}, {"http2": True}], ids=["http1", "http2"])
    async def test_a_token_is_answered_before_all_rules(
        self, certificates: Callable[..., Any], options: dict[str, Any]
    ) -> None:
        async with serving(certificates) as (server, answers):
            for _ in range(3):
                assert (await status_of(server, **options))[0] == 308
            assert await answers.publish(HTTP, 30) == []
            for _ in range(3):
                assert await status_of(server, **options) == (200, "token.thumbprint")
            assert await status_of(server, method="HEAD", **options) == (200, "")
            assert (await status_of(server, method="POST", **options))[0] == 308
            assert (await status_of(server, PATH + "x", **options))[0] == 308
            assert await answers.publish(Answers(), 30) == []
            for _ in range(3):
                assert (await status_of(server, **options))[0] == 308

    async def test_guards_and_headers_of_the_rule_are_for_what_it_answers(
        self, certificates: Callable[..., Any]
    ) -> None:
        rule = {"handler": "respond", "body": "rule", "response_headers": {"X-Rule": "1"}}
        for guard, status in (({}, 200), ({"deny": "127.0.0.1"}, 403)):
            async with serving(certificates, {**rule, **guard}) as (server, answers):
                await answers.publish(HTTP, 30)
                async with httpx.AsyncClient(base_url=server.url("web")) as client:
                    due, other = await client.get(PATH), await client.get(PATH + "x")
            assert (due.status_code, due.text, "x-rule" in due.headers) == (200, "token.thumbprint", False)
            assert (other.status_code, other.headers["x-rule"]) == (status, "1")

    async def test_without_a_rule_other_tokens_are_missing(self, certificates: Callable[..., Any]) -> None:
        async with serving(certificates, {"handler": "respond", "path": "/elsewhere"}) as (server, answers):
            await answers.publish(HTTP, 30)
            assert await status_of(server) == (200, "token.thumbprint")
            assert (await status_of(server, PATH + "x"))[0] == 404

    async def test_answers_live_through_a_reload(self, certificates: Callable[..., Any]) -> None:
        config = {"listen": [{"name": "web", "uri": "http://127.0.0.1:0"}], "dispatch": []}
        async with npserver.serve(config, shutdown_s=0) as server:
            await ANSWERS.of(server._single.data_plane.context).publish(HTTP, 30)
            await server.reload({**config, "dispatch": [{"handler": "respond", "path": "/new", "body": "new"}]})
            assert await status_of(server, "/new") == (200, "new")
            assert await status_of(server) == (200, "token.thumbprint")


class TestTls:
    @staticmethod
    def _shake(server: npserver.Server, name: str, host: str, protocols: list[str]) -> tuple[bytes | None, str | None]:
        """Return the certificate's DER and the protocol."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(protocols)
        port = server.addresses[name].port
        with (
            socket.create_connection(("127.0.0.1", port), 30) as plain,
            context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            if protocols == ["acme-tls/1"]:
                assert secure.recv(1) == b""  # closed by us
            return secure.getpeercert(binary_form=True), secure.selected_alpn_protocol()

    @pytest.mark.parametrize("name", ["secure", "ssl"])
    async def test_a_challenge_gets_its_certificate(self, certificates: Callable[..., Any], name: str) -> None:
        made = certificates("challenged.test")
        pem = made.cert.read_text() + made.key.read_text()
        der = ssl.PEM_cert_to_DER_cert(made.cert.read_text())
        async with serving(certificates) as (server, answers):
            await answers.publish(Answers(tls={"challenged.test": pem}), 30)

            async def shake(host: str, protocols: list[str]) -> tuple[bytes | None, str | None]:
                return await asyncio.to_thread(self._shake, server, name, host, protocols)

            for _ in range(2):
                assert await shake("challenged.test", ["acme-tls/1"]) == (der, "acme-tls/1")
            usual = await shake("localhost", ["http/1.1"])
            assert usual[0] not in (None, der)
            assert await shake("challenged.test", ["http/1.1"]) == usual
            assert pem not in repr(answers)
            await answers.publish(Answers(), 30)
            if name == "secure":
                with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
                    await shake("challenged.test", ["acme-tls/1"])


class TestDns:
    @staticmethod
    async def _ask(server: npserver.Server, name: str, kind: str = "TXT") -> tuple[str, list[str]]:
        query = dns.message.make_query(name, kind)
        port = server.addresses["dns"].port
        answer = await dns.asyncquery.udp(query, "127.0.0.1", 5, port=port)
        texts = [text.to_text().strip('"') for found in answer.answer for text in found]
        return dns.rcode.to_text(answer.rcode()), sorted(texts)

    async def test_texts_are_added_and_withdrawn(self, certificates: Callable[..., Any]) -> None:
        names = [
            "_acme-challenge.example.test",
            "_acme-challenge.a.b.example.test",
            "_acme-challenge.wild.example.test",
        ]
        async with serving(certificates, **ZONES) as (server, answers):

            async def unchanged() -> None:
                for _ in range(3):
                    assert await self._ask(server, names[0]) == ("NXDOMAIN", [])
                    assert await self._ask(server, names[1]) == ("NXDOMAIN", [])
                    assert await self._ask(server, names[2]) == ("NOERROR", ["any"])
                    assert await self._ask(server, "b.example.test") == ("NXDOMAIN", [])
                    assert await self._ask(server, "_acme-challenge.kept.example.test") == ("NOERROR", ["kept"])

            await unchanged()
            texts = {name: ["one", "two"] for name in names} | {"_acme-challenge.KEPT.example.test.": ["more"]}
            for _ in range(2):
                assert await answers.publish(Answers(dns=texts), 30) == []
                for _ in range(3):
                    for name in names:
                        assert await self._ask(server, name) == ("NOERROR", ["one", "two"])
                    assert await self._ask(server, "b.example.test") == ("NOERROR", [])
                    assert await self._ask(server, names[0], "A") == ("NOERROR", [])
                    kept = await self._ask(server, "_acme-challenge.kept.example.test")
                    assert kept == ("NOERROR", ["kept", "more"])
            assert await answers.publish(Answers(dns={names[0]: ["three"]}), 30) == []
            assert await self._ask(server, names[0]) == ("NOERROR", ["three"])
            assert await self._ask(server, names[1]) == ("NXDOMAIN", [])
            assert await answers.publish(Answers(), 30) == []
            await unchanged()

    @pytest.mark.parametrize("wild", [{"A": "192.0.2.7", "TXT": "any"}, {"CNAME": "example.test"}])
    async def test_a_wildcard_goes_on_to_answer_for_the_name_above(
        self, certificates: Callable[..., Any], wild: dict[str, str]
    ) -> None:
        """The TXT record makes the name exist, which would end the wildcard's answers for it."""
        zones = {**ZONES, "dns": {**ZONES["dns"], "*.example.test": wild}}
        async with serving(certificates, **zones) as (server, answers):
            names = ["photos.example.test", "a.photos.example.test", "a._acme-challenge.photos.example.test"]
            asked = [(name, kind) for name in names for kind in ("A", "TXT", "MX")]
            before = [await self._ask(server, *one) for one in asked]
            assert before[0][1]
            await answers.publish(Answers(dns={"_acme-challenge.photos.example.test": ["text"]}), 30)
            assert await self._ask(server, "_acme-challenge.photos.example.test") == ("NOERROR", ["text"])
            assert [await self._ask(server, *one) for one in asked] == before
            own = await self._ask(server, "_acme-challenge.photos.example.test", "A")
            assert own == ("NOERROR", [wild["A"]] if "A" in wild else [])
            await answers.publish(Answers(), 30)
            assert [await self._ask(server, *one) for one in asked] == before

    async def test_names_that_are_answered_elsewhere_are_left_alone(self, certificates: Callable[..., Any]) -> None:
        names = ["_acme-challenge.alias.example.test", "_acme-challenge.sub.example.test", "_acme-challenge.other.test"]
        async with serving(certificates, **ZONES) as (server, answers):
            before = [await self._ask(server, name) for name in names]
            await answers.publish(Answers(dns={name: ["text"] for name in names}), 30)
            assert [await self._ask(server, name) for name in names] == before

    async def test_every_view_has_them_also_after_a_reload(self, certificates: Callable[..., Any]) -> None:
        config = {**ZONES, "dns_views": [{"from": "127.0.0.0/8", "dns": {"example.test": {"A": "10.0.0.1"}}}]}
        async with serving(certificates, **config) as (server, answers):
            name = "_acme-challenge.example.test"
            await answers.publish(Answers(dns={name: ["text"]}), 30)
            assert await self._ask(server, name) == ("NOERROR", ["text"])
            document = server._single.document
            await server.reload(document)
            assert await self._ask(server, name) == ("NOERROR", ["text"])
