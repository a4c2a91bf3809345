"""CAs that hang, close, lie and refuse, at each step of an order.

Covers `tls.acme.client.transport` and `tls.acme.client.authorization`.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from npserver.tls.acme.client.acme_client import AcmeClient
from npserver.tls.acme.problems import AcmeError
from tests.stage.acme import LIMITS, NAME, PublishingSolver, settings, store
from tests.stage.faulty_ca import FAILURES, STEPS, FaultyCa, Request, always, changed, drip, never, response
from tests.stage.pebble import Pebble
from tests.stage.programs import needs
from tests.stage.serving import forgiving
from tests.stage.waiting import wait_until

pytestmark = needs("pebble")

DEADLINE_S = 40.0
SHORT = replace(LIMITS, request_s=2)  # for requests that are not answered


def acme_threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "npserver-acme"]


async def no_threads() -> None:
    """Wait until no thread of an order runs any more."""
    await asyncio.to_thread(wait_until, lambda: not acme_threads(), "end of the threads")


#: The nonce is asked for by HEAD, whose answer has no body.
BODILESS = {"hangs", "closes", "no HTTP", "redirects", "unavailable"}


@pytest.mark.parametrize(
    ("step", "failure"),
    [(step, failure) for step in STEPS for failure in FAILURES if step != "nonce" or failure in BODILESS],
)
async def test_a_ca_that_fails_at_any_step_is_one_typed_error(
    ca: FaultyCa, client: Callable[..., AcmeClient], solver: PublishingSolver, step: str, failure: str
) -> None:
    """Nothing stays shown, no thread or connection is left, and once the CA is well the order succeeds."""
    answer, kind, message = FAILURES[failure]
    ca.answers[STEPS[step]] = answer
    limits = SHORT if answer is never else LIMITS
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(AcmeError) as caught:
            await client(limits=limits).order([NAME], solver)
    assert re.fullmatch(kind, caught.value.kind), caught.value
    assert re.search(message, str(caught.value)), caught.value
    assert len(str(caught.value)) < 1000
    assert caught.value.is_of_ca
    assert sorted(solver.events) in ([], [f"+{NAME}", f"-{NAME}"])
    await no_threads()
    ca.answers.clear()
    await client().order([NAME], solver)


async def test_a_rate_limit_has_its_retry_after_and_the_names_it_is_about(
    ca: FaultyCa, client: Callable[..., AcmeClient], solver: PublishingSolver
) -> None:
    """RFC 8555 §6.6, §6.7.1."""
    urn = "urn:ietf:params:acme:error:"
    problem = {
        "type": f"{urn}rateLimited",
        "detail": "too many certificates (5) already issued\x1b[31m\nfor this set of names",
        "subproblems": [
            {"type": f"{urn}caa", "detail": "CAA forbids", "identifier": {"type": "dns", "value": NAME}},
            {"type": f"{urn}malformed", "detail": "without a name"},
        ],
    }
    ca.answers["/order-plz"] = always(response(429, problem, Retry_After="7200"))
    with pytest.raises(AcmeError) as caught:
        await client().order([NAME], solver)
    error = caught.value
    assert (error.kind, error.status, error.retry_after_s) == ("rateLimited", 429, 7200)
    assert error.detail == "too many certificates (5) already issued [31m for this set of names"
    assert [(one.name, one.kind, one.detail) for one in error.names] == [(NAME, "caa", "CAA forbids")]
    assert str(error) == (
        "placing the order: the CA refuses: 'too many certificates (5) already issued [31m for this set of names' "
        f"(rateLimited); {NAME}: 'CAA forbids' (caa)"
    )


async def test_an_order_that_the_ca_gives_up_has_its_reason(
    ca: FaultyCa, client: Callable[..., AcmeClient], solver: PublishingSolver
) -> None:
    def invalid(order: dict[str, Any]) -> None:
        order |= {"status": "invalid", "error": {"type": "urn:ietf:params:acme:error:caa", "detail": "CAA says no"}}

    ca.answers["/my-order/"] = changed(ca, invalid)
    with pytest.raises(AcmeError, match=r"^finalizing the order: the CA refuses: 'CAA says no' \(caa\)$"):
        await client().order([NAME], solver)


async def test_a_ca_that_dies_between_order_and_finalize_goes_on_from_there(
    ca: FaultyCa, client: Callable[..., AcmeClient], solver: PublishingSolver, tmp_path: Path, pebble: Pebble
) -> None:
    """The next order has the same account."""
    ca.answers["/finalize-order/"] = always(None)
    with pytest.raises(AcmeError, match=r"^finalizing the order: "):
        await client().order([NAME], solver)
    ca.answers.clear()
    await client().order([NAME], solver)
    assert ca.paths().count("/sign-me-up") == 1


async def test_an_authorisation_that_is_valid_already_is_taken_as_it_is(
    ca: FaultyCa, client: Callable[..., AcmeClient], solver: PublishingSolver
) -> None:
    """HAProxy waited for ever for the validation of a name that was valid."""

    def valid(authorization: dict[str, Any]) -> None:
        authorization["status"] = "valid"

    ca.answers["/authZ/"] = changed(ca, valid)
    ca.answers["/finalize-order/"] = always(response(403, {"type": "urn:ietf:params:acme:error:orderNotReady"}))
    ca.answers["/my-order/"] = changed(ca, lambda order: order.update(status="ready"))
    with pytest.raises(AcmeError, match=r"^finalizing the order: .*\(orderNotReady\)$"):
        await client().order([NAME], solver)
    assert solver.events == []
    assert "/chalZ" not in ca.paths()


@pytest.mark.parametrize("status", ["deactivated", "expired", "revoked", "invalid", "\x1b[2J"])
async def test_an_authorisation_in_another_state_is_an_error_of_its_name(
    ca: FaultyCa, client: Callable[..., AcmeClient], solver: PublishingSolver, status: str
) -> None:
    ca.answers["/authZ/"] = changed(ca, lambda one: one.update(status=status))
    with pytest.raises(
        AcmeError, match=r"^the CA could not validate www.example.test: 'the authorisation is "
    ) as caught:
        await client().order([NAME], solver)
    assert [one.name for one in caught.value.names] == [NAME]
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda one: one["identifier"].update(value="bank.test"),
            "wants to validate 'bank.test', which was not ordered",
        ),
        (lambda one: one.update(wildcard=True), r"wants to validate '\*.www.example.test', which was not ordered"),
        (lambda one: [it.update(token="../../x") for it in one["challenges"]], "no challenge in common"),
        (lambda one: [it.update(token=None) for it in one["challenges"]], "cannot be understood"),
        (lambda one: [it.update(url="http://127.0.0.1:1/") for it in one["challenges"]], "as a URL: https is required"),
        (lambda one: [it.update(url="file:///etc/passwd") for it in one["challenges"]], "as a URL: https is required"),
        (lambda one: one.update(challenges=[]), "no challenge in common: ours are http-01, the CA offers none"),
    ],
    ids=["another name", "a wildcard", "a token with a path", "no token", "http", "file", "no challenges"],
)
async def test_a_ca_that_wants_what_was_not_ordered_is_refused(
    ca: FaultyCa,
    client: Callable[..., AcmeClient],
    solver: PublishingSolver,
    change: Callable[[dict[str, Any]], Any],
    message: str,
) -> None:
    ca.answers["/authZ/"] = changed(ca, change)
    with pytest.raises(AcmeError, match=message):
        await client().order([NAME], solver)
    assert sorted(solver.events) in ([], [f"+{NAME}", f"-{NAME}"])


async def test_a_wildcard_is_never_proved_over_http(
    ca: FaultyCa, client: Callable[..., AcmeClient], solver: PublishingSolver
) -> None:
    """Although this CA would be content with it."""

    def offer_http(authorization: dict[str, Any]) -> None:
        authorization["challenges"] = [{**one, "type": "http-01"} for one in authorization["challenges"]]

    ca.answers["/authZ/"] = changed(ca, offer_http)
    with pytest.raises(AcmeError, match="no challenge in common: ours are http-01, the CA offers 'http-01'"):
        await client().order(["*.example.test"], solver)


async def test_an_endless_answer_is_read_up_to_the_limit(
    ca: FaultyCa, client: Callable[..., AcmeClient], solver: PublishingSolver
) -> None:
    async def pour(request: Request) -> bytes | None:
        request.writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not request.writer.is_closing():
            request.writer.write(bytes(65_536))
            await request.writer.drain()
            await asyncio.sleep(0)  # a connection that is lost makes `drain` return at once
        return None

    ca.answers["/order-plz"] = pour
    with pytest.raises(AcmeError, match=r"^placing the order: the CA answers with more than 262144 bytes$"):
        await client().order([NAME], solver)


async def test_an_order_with_a_hundred_thousand_authorisations_is_refused(
    ca: FaultyCa, client: Callable[..., AcmeClient], solver: PublishingSolver
) -> None:
    ca.answers["/order-plz"] = changed(ca, lambda one: one.update(authorizations=["https://127.0.0.1:1/"] * 2))
    with pytest.raises(AcmeError, match=r"^placing the order: the CA's answer with status 201 cannot be understood"):
        await client().order([NAME], solver)


async def test_the_certificate_of_another_order_is_refused(
    ca: FaultyCa, client: Callable[..., AcmeClient], solver: PublishingSolver
) -> None:
    other = await client().order([NAME], solver)
    ca.answers["/certZ/"] = always(response(200, other.chain, Replay_Nonce="abcd"))
    with pytest.raises(AcmeError, match=r"^the certificate that the CA sends is for another key than ours$") as caught:
        await client().order([NAME], solver)
    assert caught.value.kind == "wrongCertificate"


class TestTime:
    @pytest.mark.parametrize("begin", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n\r\n"], ids=["head", "body"])
    async def test_an_answer_that_drips_is_ended_at_the_limit(
        self, ca: FaultyCa, client: Callable[..., AcmeClient], solver: PublishingSolver, begin: bytes
    ) -> None:
        """A byte now and then keeps the time limit of a socket from passing."""

        async def answer(request: Request) -> bytes | None:
            await drip(request.writer, begin)
            return None

        ca.answers["/order-plz"] = answer
        async with asyncio.timeout(DEADLINE_S):
            with pytest.raises(AcmeError, match=r"no answer of the CA within 2 s$"):
                await client(limits=SHORT).order([NAME], solver)
        await no_threads()

    async def test_a_handshake_that_drips_is_ended_at_the_limit(
        self, client: Callable[..., AcmeClient], solver: PublishingSolver
    ) -> None:
        async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                await drip(writer, b"\x16\x03\x03\x40\x00")  # a record of 16 KiB
            writer.close()

        server = await asyncio.start_server(forgiving(serve), "127.0.0.1", 0)
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with server, asyncio.timeout(DEADLINE_S):
            with pytest.raises(AcmeError, match=r"^reading the directory: no answer of the CA within 2 s$"):
                await client(directory=url, limits=SHORT).order([NAME], solver)
            await no_threads()

    async def test_an_order_ends_at_its_own_limit(
        self, ca: FaultyCa, client: Callable[..., AcmeClient], solver: PublishingSolver
    ) -> None:
        """The CA answers every time that it is not ready yet."""
        ca.answers["/authZ/"] = changed(ca, lambda one: one.update(status="pending"))
        with pytest.raises(AcmeError, match=r"^the order took longer than 3 s$") as caught:
            await client(limits=replace(LIMITS, order_s=3)).order([NAME], solver)
        assert caught.value.is_of_ca
        assert sorted(solver.events) == [f"+{NAME}", f"-{NAME}"]

    @pytest.mark.parametrize("step", ["directory", "order", "challenge", "certificate"])
    async def test_a_cancelled_order_leaves_nothing(
        self, ca: FaultyCa, client: Callable[..., AcmeClient], solver: PublishingSolver, step: str
    ) -> None:
        """Its thread ends at once although a request may take an hour, and the answers are taken back."""
        asked = asyncio.Event()

        async def hang(request: Request) -> bytes | None:
            asked.set()
            return await never(request)

        ca.answers[STEPS[step]] = hang
        limits = replace(LIMITS, request_s=3600, order_s=3600)
        async with asyncio.timeout(DEADLINE_S):
            order = asyncio.create_task(client(limits=limits).order([NAME], solver))
            await asked.wait()
            assert len(acme_threads()) == 1
            order.cancel()
            with pytest.raises(asyncio.CancelledError):
                await order
            await no_threads()
        assert sorted(solver.events) in ([], [f"+{NAME}", f"-{NAME}"])

    async def test_a_ca_that_accepts_no_connection_is_unreachable(
        self, pebble: Pebble, tmp_path: Path, solver: PublishingSolver
    ) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            url = f"https://127.0.0.1:{taken.getsockname()[1]}/"
            with pytest.raises(AcmeError) as caught:
                await AcmeClient(settings(pebble, directory=url), store(tmp_path)).order([NAME], solver)
        assert str(caught.value) == "reading the directory: the CA cannot be reached: connection refused"
        assert (caught.value.kind, caught.value.status) == ("unreachable", 0)

    async def test_a_ca_that_the_system_does_not_trust_is_told_nothing(
        self, ca: FaultyCa, client: Callable[..., AcmeClient], solver: PublishingSolver
    ) -> None:
        """The message names the key by which it is trusted."""
        with pytest.raises(AcmeError) as caught:
            await client(ca="").order([NAME], solver)
        assert str(caught.value) == (
            "reading the directory: the CA's own https certificate is not valid: unable to get local issuer "
            "certificate; 'ca' must be a file with the authority that signed it, if that is not one of the system's"
        )
        assert ca.seen == []
