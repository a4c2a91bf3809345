"""What only some CAs have: several of them in order, profiles, renewal information (RFC 9773).

Covers `tls.acme.client.acme_client`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from npserver.tls.acme.client.acme_client import AcmeClient, order_from_any
from npserver.tls.acme.problems import AcmeError
from npserver.tls.acme.schedule import Window
from tests.stage.acme import NAME, PublishingSolver
from tests.stage.faulty_ca import Answer, FaultyCa, Request, always, changed, response, running_faulty_ca
from tests.stage.pebble import Pebble
from tests.stage.programs import needs

pytestmark = needs("pebble")


class TestSeveralCas:
    async def test_the_next_is_asked_where_the_first_fails(
        self,
        ca: FaultyCa,
        client: Callable[..., AcmeClient],
        solver: PublishingSolver,
        pebble: Pebble,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        ca.answers["/order-plz"] = always(response(503, b"", Retry_After="60"))
        clients = [client(), client(directory=pebble.url)]
        issued = await order_from_any(clients, [NAME], solver)
        assert issued.directory == pebble.url
        (line,) = (one.message for one in caplog.records if one.name == "npserver.tls")
        assert line == (
            f"no certificate of {ca.url} for {NAME!r}: placing the order: the CA answers with status 503 and gives "
            f"no reason; asking {pebble.url}"
        )

    async def test_the_next_is_not_asked_where_a_name_is_wrong(
        self, ca: FaultyCa, client: Callable[..., AcmeClient], solver: PublishingSolver, pebble: Pebble
    ) -> None:
        solver.spoil = True
        with pytest.raises(AcmeError, match=r"^the CA could not validate"):
            await order_from_any([client(directory=pebble.url), client()], [NAME], solver)
        assert ca.seen == []

    async def test_when_all_fail_the_longest_retry_after_counts(
        self,
        ca: FaultyCa,
        client: Callable[..., AcmeClient],
        solver: PublishingSolver,
        tmp_path: Path,
        pebble: Pebble,
        authority: trustme.CA,
    ) -> None:
        (tmp_path / "other").mkdir()
        async with running_faulty_ca(pebble, authority, tmp_path / "other") as other:
            ca.answers["/order-plz"] = always(response(429, {"type": "x"}, Retry_After="7200"))
            other.answers["/dir"] = always(response(503))
            with pytest.raises(AcmeError, match=r"^reading the directory: ") as caught:
                await order_from_any([client(), client(directory=other.url)], [NAME], solver)
        assert caught.value.retry_after_s == 7200


class TestProfiles:
    async def test_the_order_has_the_profile(
        self, ca: FaultyCa, client: Callable[..., AcmeClient], solver: PublishingSolver
    ) -> None:
        ca.answers["/dir"] = changed(ca, lambda one: one["meta"].update(profiles={"shortlived": "six days", "x": "y"}))
        await client(profile="shortlived").order([NAME], solver)
        await client().order([NAME], solver)
        orders = [one.payload for one in ca.seen if one.path == "/order-plz"]
        assert [one.get("profile") for one in orders] == ["shortlived", None]

    @pytest.mark.parametrize(
        ("offered", "message"),
        [
            ({"classic": "…", "x\n": "…"}, "the CA offers no profile 'shortlived', but 'classic', 'x'"),
            (None, "but none"),
        ],
    )
    async def test_one_that_the_ca_does_not_offer_is_refused_before_the_order(
        self,
        ca: FaultyCa,
        client: Callable[..., AcmeClient],
        solver: PublishingSolver,
        offered: dict[str, str] | None,
        message: str,
    ) -> None:
        ca.answers["/dir"] = changed(ca, lambda one: one["meta"].update(profiles=offered))
        with pytest.raises(AcmeError, match=message) as caught:
            await client(profile="shortlived").order([NAME], solver)
        assert caught.value.kind == "settings"
        assert ca.paths() == ["/dir"]


def without_renewal_information(ca: FaultyCa) -> Answer:
    return changed(ca, lambda one: one.pop("renewalInfo", None))


class TestRenewalInformation:
    """RFC 9773, which pebble 2.4.0 does not have."""

    @pytest.fixture(autouse=True)
    def offered(self, ca: FaultyCa) -> None:
        url = ca.url.replace("/dir", "/renewal-info")
        ca.answers["/dir"] = changed(ca, lambda one: one.update(renewalInfo=url))

    async def test_the_window_and_the_reason_are_read(self, ca: FaultyCa, client: Callable[..., AcmeClient]) -> None:
        answer = {
            "suggestedWindow": {"start": "2026-11-27T12:00:00Z", "end": "2026-11-29T12:00:00+00:00"},
            "explanationURL": "https://ca.test/why\x1b[31m",
        }
        ca.answers["/renewal-info/"] = always(response(200, answer, Retry_After="21600"))
        window, retry_after_s = await client().renewal_window("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE")
        assert window == Window(1_795_780_800, 1_795_953_600, "https://ca.test/why [31m")
        assert retry_after_s == 21_600
        assert ca.seen[-1].path == "/renewal-info/aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"
        assert ca.paths() == ["/dir", "/renewal-info"]

    @pytest.mark.parametrize(
        "window",
        [{}, None, {"start": "soon", "end": "later"}, {"start": "2026-11-27T12:00:00Z"}, {"start": 1, "end": 2}, []],
    )
    async def test_a_window_that_is_none_is_an_error(
        self, ca: FaultyCa, client: Callable[..., AcmeClient], window: object
    ) -> None:
        ca.answers["/renewal-info/"] = always(response(200, {"suggestedWindow": window}))
        with pytest.raises(AcmeError, match=r"^asking for renewal information: ") as caught:
            await client().renewal_window("a.b")
        assert caught.value.kind == "malformedAnswer"

    async def test_a_refusal_has_its_retry_after(self, ca: FaultyCa, client: Callable[..., AcmeClient]) -> None:
        ca.answers["/renewal-info/"] = always(response(503, {"type": "x"}, Retry_After="300"))
        with pytest.raises(AcmeError) as caught:
            await client().renewal_window("a.b")
        assert (caught.value.status, caught.value.retry_after_s) == (503, 300)

    async def test_without_it_there_is_no_window(self, ca: FaultyCa, client: Callable[..., AcmeClient]) -> None:
        ca.answers["/dir"] = without_renewal_information(ca)
        assert await client().renewal_window("a.b") == (None, None)

    async def test_the_order_of_a_renewal_says_what_it_replaces(
        self, ca: FaultyCa, client: Callable[..., AcmeClient], solver: PublishingSolver
    ) -> None:
        before = await client().order([NAME], solver)
        await client().order([NAME], solver, replaces=before.id)
        orders = [one.payload for one in ca.seen if one.path == "/order-plz"]
        assert [one.get("replaces") for one in orders] == [None, before.id]

    async def test_an_order_that_replaces_what_was_replaced_is_made_without(
        self, ca: FaultyCa, client: Callable[..., AcmeClient], solver: PublishingSolver
    ) -> None:
        """RFC 9773 §5: `alreadyReplaced`, with status 409."""

        async def answer(request: Request) -> bytes:
            if "replaces" in request.payload:
                return response(409, {"type": "urn:ietf:params:acme:error:alreadyReplaced"})
            return await ca.ask_pebble(request)

        ca.answers["/order-plz"] = answer
        await client().order([NAME], solver, replaces="a.b")
        assert ca.paths().count("/order-plz") == 2

    async def test_a_ca_without_it_is_not_told_what_an_order_replaces(
        self, ca: FaultyCa, client: Callable[..., AcmeClient], solver: PublishingSolver
    ) -> None:
        ca.answers["/dir"] = without_renewal_information(ca)
        await client().order([NAME], solver, replaces="a.b")
        assert ["replaces" in one.payload for one in ca.seen if one.path == "/order-plz"] == [False]
