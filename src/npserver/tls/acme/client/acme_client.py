"""Orders one certificate from a CA, from the start to its chain (RFC 8555 §7.4), and asks when it is to be renewed.

The caller gives a `Solver`, which shows the answers to challenges, and keeps what must outlive it: the account and the
certificate. An order that broke off is not taken up again: a CA remembers which names were validated, so that another
order goes on from there.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest
from typing import Any, TypeVar
from urllib.parse import quote

from acme import errors, messages
from acme.client import ClientV2
from cryptography import x509
from josepy.json_util import field

from npserver.errors import clip, reason_of
from npserver.networks import is_ip_address
from npserver.tls.acme.challenges import Solver
from npserver.tls.acme.client.account import Account, AccountStore, load_account, register, save_account
from npserver.tls.acme.client.authorization import Authorization, Pending, choose, failed_names, parse
from npserver.tls.acme.client.certificate import IssuedCertificate, check_chain, make_key, make_request
from npserver.tls.acme.client.transport import Calls, Network, run_in_thread
from npserver.tls.acme.problems import MAX_NAMES, AcmeError, plain
from npserver.tls.acme.schedule import OrderBudget, Window
from npserver.tls.acme.settings import AcmeSettings

log = logging.getLogger("npserver.tls")

T = TypeVar("T")

_SHOWN_S = 30.0  # for taking an answer back, also while the order is being cancelled


class _NewOrder(messages.NewOrder):
    """An order that says which certificate it replaces: that of a renewal is free of limits (RFC 9773 §5)."""

    replaces: str = field("replaces", omitempty=True)


class _EmptyObject:
    """The payload that says that a challenge may be validated (RFC 8555 §7.5.1)."""

    def json_dumps(self, **_: Any) -> str:
        """Return it as `acme` asks for it; an empty object of `josepy` would be no payload at all."""
        return "{}"


class AccountUse:
    """What all clients of one account share."""

    __slots__ = ("budget", "registering")

    def __init__(self) -> None:
        self.registering = asyncio.Lock()  # orders that begin at once use one account
        self.budget = OrderBudget()

    def __repr__(self) -> str:
        return f"<AccountUse {self.budget}>"


class AcmeClient:
    """The orders from one CA, any number at a time. It holds no connection and no thread between calls.

    `use`: that of the other clients with this directory.
    """

    def __init__(self, settings: AcmeSettings, store: AccountStore, use: AccountUse | None = None) -> None:
        self._settings = settings
        self._store = store
        self._use = use or AccountUse()

    def __repr__(self) -> str:
        return f"<AcmeClient {self.directory}>"

    @property
    def directory(self) -> str:
        """The URL of the CA's directory."""
        return self._settings.directory

    async def order(self, names: Sequence[str], solver: Solver, *, replaces: str = "") -> IssuedCertificate:
        """Return a certificate for these names: host names in lower case, `*.` in front of wildcards, and addresses.

        `replaces`: the id of the certificate that this renews, if the CA issued it.

        Raises: AcmeError; StoreError of the store.
        """
        if not names or len(names) > MAX_NAMES:
            raise AcmeError(f"a certificate has between 1 and {MAX_NAMES} names, not {len(names)}", kind="settings")
        if wait_s := self._use.budget.wait_s(time.time()):
            raise AcmeError("as many orders as the CA allows were placed", kind="rateLimited", retry_after_s=wait_s)
        self._use.budget.spend(time.time())
        limits = self._settings.limits
        try:
            async with asyncio.timeout(limits.order_s):
                order = _Order(self._settings, self._store, list(dict.fromkeys(names)), solver, self._use.registering)
                return await order.run(replaces)
        except TimeoutError:
            message = f"the order took longer than {limits.order_s:g} s"
            raise AcmeError(message, kind="unreachable") from None

    async def renewal_window(self, certificate_id: str) -> tuple[Window | None, float | None]:
        """Return when the CA suggests to renew a certificate, and its Retry-After in seconds (RFC 9773 §4).

        The window is None where the CA has no renewal information. Raises: AcmeError.
        """
        account = await load_account(self._store, self._settings.directory)
        calls, client = await _connect(self._settings, account)
        base = client.directory["renewalInfo"] if "renewalInfo" in client.directory.to_partial_json() else None
        if base is None or not certificate_id:
            return None, None

        def ask() -> Window:
            answer = client.net.get(f"{base}/{quote(certificate_id)}").json()
            window = messages.RenewalInfo.from_json(answer).suggested_window
            return Window(window.start.timestamp(), window.end.timestamp(), plain(answer.get("explanationURL"), 500))

        return await calls.run("asking for renewal information", ask), calls.retry_after_s


class _Order:
    """One order in progress."""

    def __init__(
        self,
        settings: AcmeSettings,
        store: AccountStore,
        names: list[str],
        solver: Solver,
        registering: asyncio.Lock,
    ) -> None:
        self._settings = settings
        self._store = store
        self._names = names
        self._solver = solver
        self._registering = registering
        self._account: Account
        self._calls: Calls
        self._client: ClientV2

    def __repr__(self) -> str:
        return f"<_Order {' '.join(self._names)}>"

    async def run(self, replaces: str) -> IssuedCertificate:
        key = await run_in_thread(lambda: make_key(self._settings.key_type), lambda: None)
        async with self._registering:
            self._account = await load_account(self._store, self._settings.directory)
            self._calls, self._client = await _connect(self._settings, self._account)
            self._check_profile()
            await self._register()
        url, order = await self._begin(replaces)
        await self._authorize(order)
        chain = await self._finish(url, order, make_request(key, self._names))
        return check_chain(chain, key, self._names, self._settings.directory)

    def _check_profile(self) -> None:
        """Refuse a profile that the CA does not offer; one without profiles would ignore it."""
        wanted, meta = self._settings.profile, getattr(self._client.directory, "meta", None)
        offered = getattr(meta, "profiles", None) or {}
        if wanted and wanted not in offered:
            names = ", ".join(clip(plain(name)) for name in list(offered)[:20]) or "none"
            raise AcmeError(f"the CA offers no profile {clip(wanted)}, but {names}", kind="settings")

    async def _register(self) -> None:
        before = (self._account.url, self._account.email)
        await self._calls.run("registering the account", register, self._client, self._account, self._settings)
        if before != (self._account.url, self._account.email):
            await save_account(self._store, self._account)
        if before[0] != self._account.url:
            terms = plain(getattr(getattr(self._client.directory, "meta", None), "terms_of_service", None)) or "none"
            log.info("account registered at %s, whose terms of service are %s", self._settings.directory, terms)

    async def _begin(self, replaces: str) -> tuple[str, messages.Order]:
        """Return the URL of the new order, and the order."""
        directory = self._client.directory.to_partial_json()
        if replaces and "renewalInfo" in directory:
            try:
                return await self._calls.run("placing the order", self._new_order, replaces)
            except AcmeError as error:
                if error.status != 409:  # RFC 9773 §5: alreadyReplaced; that one lost its answer, or its certificate
                    raise
        try:
            return await self._calls.run("placing the order", self._new_order, "")
        except AcmeError as error:
            if error.kind != "accountDoesNotExist":
                raise
        self._account.url = ""  # the CA was set up again: it forgot us
        await self._register()
        return await self._calls.run("placing the order", self._new_order, "")

    def _new_order(self, replaces: str) -> tuple[str, messages.Order]:
        identifiers = [
            messages.Identifier(
                typ=messages.IDENTIFIER_IP if is_ip_address(name) else messages.IDENTIFIER_FQDN, value=name
            )
            for name in self._names
        ]
        request = _NewOrder(identifiers=identifiers, profile=self._settings.profile or None, replaces=replaces or None)
        answer = self._post(self._client.directory["newOrder"], request)
        order = messages.Order.from_json(answer.json())
        if not 0 < len(order.authorizations) <= len(self._names):
            raise errors.ClientError("an order has one authorisation for each name")
        return answer.headers["Location"], order

    async def _authorize(self, order: messages.Order) -> None:
        """Prove that the names are ours. Those that the CA knows to be are left alone."""
        pending = []
        for url in order.authorizations:
            found = await self._calls.run("reading an authorisation", self._authorization, url)
            chosen = choose(url, found, self._names, self._solver, self._account.jwk())
            if chosen is not None:
                pending.append(chosen)
        shown: list[Pending] = []
        try:
            for one in pending:
                shown.append(one)  # before it is: `present` may be interrupted
                await self._solver.present(one.challenge)
            for one in pending:
                await self._calls.run(f"answering the challenge of {one.challenge.name}", self._answer, one)
            ended = [await self._ended(one) for one in pending]
        finally:
            await _withdraw_all(self._solver, shown)
        failed = [
            problem for one, found in zip(pending, ended, strict=True) for problem in failed_names(one.name, found)
        ]
        if failed:
            wrong = {one.name for one in failed}
            hints = dict.fromkeys(self._solver.hint(one.challenge) for one in pending if one.name in wrong)
            message = f"the CA could not validate {'; '.join([*map(str, failed), *filter(None, hints)])}"
            raise AcmeError(message, kind=failed[0].kind, detail=failed[0].detail, names=tuple(failed))

    async def _ended(self, one: Pending) -> Authorization:
        """Return an authorisation that is not pending any more."""
        return await self._poll(
            f"waiting for the validation of {one.challenge.name}",
            lambda: self._authorization(one.url),
            lambda found: found.status not in ("pending", "processing"),
        )

    async def _finish(self, url: str, order: messages.Order, request: x509.CertificateSigningRequest) -> bytes:
        """Return the chain, in PEM, for this request."""
        pending, going_on = (messages.STATUS_PENDING,), (messages.STATUS_PROCESSING, messages.STATUS_READY)

        def read() -> messages.Order:
            return self._read_order(url)

        found = await self._poll("waiting for the order", read, lambda one: one.status not in pending)
        if found.status == messages.STATUS_READY:
            body = messages.CertificateRequest(csr=request)
            found = await self._calls.run("finalizing the order", self._read_order, order.finalize, body)
        if found.status in going_on:
            found = await self._poll("waiting for the certificate", read, lambda one: one.status not in going_on)
        if found.status != messages.STATUS_VALID or found.certificate is None:
            raise self._calls.failure("finalizing the order", found.error)
        certificate = found.certificate
        answer = await self._calls.run("downloading the certificate", lambda: self._post(certificate, None))
        return bytes(answer.content)

    async def _poll(self, what: str, read: Callable[[], T], is_done: Callable[[T], bool]) -> T:
        """Read until it is done, as often as the CA says, or else less and less often."""
        limits, pause_s = self._settings.limits, self._settings.limits.poll_s
        while not is_done(found := await self._calls.run(what, read)):
            wait_s = self._calls.retry_after_s
            await asyncio.sleep(min(pause_s if wait_s is None else max(wait_s, limits.poll_s), limits.poll_max_s))
            pause_s *= 2
        return found

    def _read_order(self, url: str, body: messages.CertificateRequest | None = None) -> messages.Order:
        order: messages.Order = messages.Order.from_json(self._post(url, body).json())
        return order

    def _authorization(self, url: str) -> Authorization:
        return parse(self._post(url, None).json())

    def _answer(self, one: Pending) -> None:
        self._post(one.challenge_url, _EmptyObject())

    def _post(self, url: str, body: Any) -> Any:
        return self._client.net.post(url, body, new_nonce_url=self._client.directory["newNonce"])


async def _connect(settings: AcmeSettings, account: Account) -> tuple[Calls, ClientV2]:
    """Return a client that has read the CA's directory."""
    try:
        trust = ssl.create_default_context(cadata=settings.ca or None)
    except (OSError, ssl.SSLError) as error:
        raise AcmeError(f"cannot use the authorities of 'ca': {reason_of(error)}", kind="settings") from None
    network = Network(account.jwk(), trust, settings.limits)
    calls = Calls(network, settings.limits)

    def read() -> messages.Directory:
        directory = ClientV2.get_directory(settings.directory, network)
        for name in ("newNonce", "newAccount", "newOrder"):
            directory[name]
        return directory

    return calls, ClientV2(await calls.run("reading the directory", read), network)


async def _withdraw_all(solver: Solver, shown: Sequence[Pending]) -> None:
    """Take back what was shown, each whatever happens to the others, also while the order is being cancelled."""

    async def withdraw(one: Pending) -> None:
        try:
            async with asyncio.timeout(_SHOWN_S):
                await solver.withdraw(one.challenge)
        except (AcmeError, OSError) as error:
            log.warning(
                "cannot take back the %s challenge of %s: %s", one.challenge.kind.value, one.name, reason_of(error)
            )

    if shown:
        await asyncio.shield(asyncio.gather(*map(withdraw, shown)))


def make_clients(settings: Iterable[AcmeSettings], store: AccountStore) -> dict[AcmeSettings, AcmeClient]:
    """Return a client for each of these settings; those with one directory share the account there."""
    uses: dict[str, AccountUse] = {}
    return {one: AcmeClient(one, store, uses.setdefault(one.directory, AccountUse())) for one in settings}


async def order_from_any(
    clients: Sequence[AcmeClient], names: Sequence[str], solver: Solver, *, replaces: str = "", issued_by: str = ""
) -> IssuedCertificate:
    """Return a certificate of the first CA that issues one; the next is asked only where the CA is what failed.

    `replaces`: as for `AcmeClient.order`; only the CA with the directory `issued_by` is told.
    Raises: AcmeError of the last that was asked, with the longest Retry-After of all; StoreError.
    """
    waits = []
    for client, following in zip_longest(clients, clients[1:]):
        try:
            return await client.order(names, solver, replaces=replaces if client.directory == issued_by else "")
        except AcmeError as error:
            waits.append(error.retry_after_s or 0.0)
            if following is None or not error.is_of_ca:
                error.retry_after_s = max(waits) or None
                raise
            shown = clip(" ".join(names), 100)
            log.warning(
                "no certificate of %s for %s: %s; asking %s", client.directory, shown, error, following.directory
            )
    raise AssertionError("no CA was given")
