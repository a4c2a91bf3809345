"""The account at a CA: its key, made once and kept by the caller, and its registration (RFC 8555 §7.3).

Blocking functions run in the threads of `tls.acme.client.transport`. Programs that share a store use one account:
whoever comes first makes its key.
"""

from __future__ import annotations

import hashlib
from typing import Protocol
from urllib.parse import urlsplit

import msgspec
from acme import errors, messages
from acme.client import ClientV2
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.jwk import JWKEC

from npserver.errors import clip
from npserver.tls.acme.problems import AcmeError, kind_of, plain
from npserver.tls.acme.settings import AcmeSettings

_REQUIRED = "externalAccountRequired"
_OF_BINDING = (_REQUIRED, "malformed", "unauthorized")  # how a wrong key id, or a wrong MAC key, is refused


class AccountStore(Protocol):
    """Where accounts are kept: private keys among them, so that nobody else may read it."""

    async def get(self, name: str) -> bytes | None:
        """Return the value of a name."""
        ...

    async def put(self, name: str, value: bytes) -> None:
        """Set the value of a name, so that it outlives a crash from here on."""
        ...

    async def compare_and_swap(self, name: str, expected: bytes | None, value: bytes | None) -> bool:
        """Do so if it still has the expected value. Return whether it had."""
        ...


class Account(msgspec.Struct):
    """One account, as it is kept in JSON."""

    directory: str
    key: str  # PEM; secret
    url: str = ""  # empty until it is registered
    email: str = ""  # as it was last registered

    def __repr__(self) -> str:
        return f"<Account {self.url or self.directory}>"  # without the key

    def jwk(self) -> JWKEC:
        """Return its key, to sign with."""
        key = serialization.load_pem_private_key(self.key.encode(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ValueError("not a key of P-256")
        return JWKEC(key=key)


def store_name(directory: str) -> str:
    """Return the name under which the account at a CA is kept: one for each URL of a directory."""
    return f"acme/accounts/{urlsplit(directory).hostname}-{hashlib.sha256(directory.encode()).hexdigest()[:12]}"


async def load_account(store: AccountStore, directory: str) -> Account:
    """Return the account that is kept, or else one with a new key, which is kept before anybody uses it.

    Raises: AcmeError if what is kept is damaged; to make another account then would hide the loss.
    """
    name = store_name(directory)
    kept = await store.get(name)
    if kept is not None:
        try:
            account = msgspec.json.decode(kept, type=Account)
            account.jwk()
        except (msgspec.MsgspecError, ValueError, TypeError):
            # the exception may quote what was read: the key
            raise AcmeError(f"the account {name} in the store is damaged: remove it", kind="settings") from None
        return account
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = Account(directory, key.decode())
    if await store.compare_and_swap(name, None, msgspec.json.encode(account)):
        return account
    return await load_account(store, directory)  # another program with this store was faster


async def save_account(store: AccountStore, account: Account) -> None:
    """Keep an account."""
    await store.put(store_name(account.directory), msgspec.json.encode(account))


def register(client: ClientV2, account: Account, settings: AcmeSettings) -> None:
    """Make `client` use the account; register it where it is not, and change its address where that has changed.

    Configuring a CA agrees to its terms of service. Sets `url` and `email`. Blocks.
    Raises: AcmeError, and the errors of `acme`.
    """
    if not account.url:
        account.url, account.email = _new_account(client, account, settings), settings.email
    client.net.account = messages.RegistrationResource(body=messages.Registration(), uri=account.url)
    if account.email != settings.email:
        contact = (f"mailto:{settings.email}",) if settings.email else ()
        client.net.post(
            account.url, messages.UpdateRegistration(contact=contact), new_nonce_url=client.directory["newNonce"]
        )
        account.email = settings.email


def _new_account(client: ClientV2, account: Account, settings: AcmeSettings) -> str:
    """Return the URL of the account with this key, a new one if the CA knows none (RFC 8555 §7.3, §7.3.1).

    The external account is sent to a CA that requires one: others may refuse a key id that they do not know.
    """
    client.net.account = None
    try:
        url = _ask_for_account(client, account, settings, is_bound=client.external_account_required())
    except messages.Error as error:  # that it is required need not be in the directory
        if kind_of(error.typ) != _REQUIRED:
            raise
        url = _ask_for_account(client, account, settings, is_bound=True)
    if not isinstance(url, str) or not url.startswith("https://"):
        raise AcmeError("the CA names no URL of the new account", kind="malformedAnswer")
    return url


def _ask_for_account(client: ClientV2, account: Account, settings: AcmeSettings, *, is_bound: bool) -> object:
    """Return what the CA gives as the URL. `is_bound`: to the external account (RFC 8555 §7.3.4)."""
    binding = None
    if is_bound:
        if not settings.eab_key_id:
            message = f"{clip(settings.directory)} requires an external account: write its 'eab_key_id' and 'eab_key'"
            raise AcmeError(message, kind=_REQUIRED)
        binding = messages.ExternalAccountBinding.from_data(
            account.jwk().public_key(), settings.eab_key_id, settings.eab_key, client.directory
        )
    request = messages.NewRegistration.from_data(
        email=settings.email or None, external_account_binding=binding, terms_of_service_agreed=True
    )
    try:
        return client.new_account(request).uri
    except errors.ConflictError as error:  # it was registered before, and only the answer was lost
        return error.location
    except messages.Error as error:
        kind = kind_of(error.typ)
        if not is_bound or kind not in _OF_BINDING:
            raise
        told = f"the CA refuses the external account: {clip(plain(error.detail), 300)} ({kind})"
        raise AcmeError(f"{told}: are 'eab_key_id' and 'eab_key' right?", kind=kind) from None
