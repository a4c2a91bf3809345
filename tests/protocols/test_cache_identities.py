"""What the proxy tells the application of who a client is: such responses are for this client alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from npserver.web.exchange import Exchange, Middleware, make_route
from npserver.web.signed_in import sign_in
from tests.protocols.caching import FRESH, caching
from tests.protocols.proxying import Origin, answering, ok, until
from tests.stage.tls import ask, client, https


class Tokens(Middleware):
    """Takes a user for the claim of a token, as `jwt` does."""

    def __init__(self) -> None:
        self.user = "alice"

    def request(self, exchange: Exchange) -> None:
        exchange.request = sign_in(exchange.request, frozenset(), [], claims={"sub": self.user})
        exchange.proceed()


USER = {"headers": {"X-User": "$jwt.sub"}}
MAPPED = {"headers": {"X-Role": "$map.role"}}
MAPS = {"maps": {"role": {"from": "$jwt.sub", "to": {"alice": "admin", "bob": "guest"}}}}


@pytest.mark.parametrize("rule", [USER, MAPPED], ids=["variable", "map"])
async def test_what_is_told_of_a_user_is_not_shared(tmp_path: Path, rule: dict[str, Any]) -> None:
    async with caching(tmp_path, rule=rule, config=MAPS) as one:
        tokens = Tokens()
        one.stage.route = make_route("dispatch[0] proxy", one.handler, 64 << 20, (tokens,))
        first = await one.ask()
        assert (first.body, first.cache_status) == (b"1", "fwd=bypass; detail=sign-in")
        tokens.user = "bob"
        assert [(await one.ask()).body for _ in range(2)] == [b"2", b"3"]
        tokens.user = ""
        assert [(await one.ask()).body for _ in range(2)] == [b"4", b"4"], "nothing is told"


async def test_a_key_with_the_user_has_responses_for_each(tmp_path: Path) -> None:
    async with caching(tmp_path, rule=USER, key="$scheme://$authority$request_uri $jwt.sub") as one:
        tokens = Tokens()
        one.stage.route = make_route("dispatch[0] proxy", one.handler, 64 << 20, (tokens,))
        assert [(await one.ask()).body for _ in range(2)] == [b"1", b"1"]
        tokens.user = "bob"
        assert [(await one.ask()).body for _ in range(2)] == [b"2", b"2"]


async def test_client_certificates_are_identities(certificates: Callable[..., Any], tmp_path: Path) -> None:
    issued, own = certificates(), certificates("client.example")
    known = client(issued.ca)
    known.load_cert_chain(own.cert, own.key)
    (tmp_path / "cache").mkdir()
    tls = issued.config | {"client_ca": str(issued.ca), "client_auth": "request"}
    async with Origin(answering(*[ok(b"%d" % number, FRESH) for number in range(9)])) as origin:
        rule = {
            "handler": "proxy", "proxy_pass": origin.url, "headers": {"X-Subject": "$tls_client_subject"},
            "cache": {"directory": str(tmp_path / "cache")},
        }  # fmt: skip
        async with https(tls, dispatch=[rule]) as port:
            assert [(await ask(port, known)).body for _ in range(2)] == ["0", "1"]
            assert (await ask(port, client(issued.ca))).body == "2"
            await until(lambda: any((tmp_path / "cache").glob("[0-9a-f][0-9a-f]/*")))  # stored a little later
            assert (await ask(port, client(issued.ca))).body == "2"
            assert (await ask(port, known)).body == "3"
