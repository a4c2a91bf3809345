"""The local authority: roots that are made once and kept in the store, and certificates of days, which they sign.

There are two roots. The one for local names is limited to those names and to private addresses (name constraints): who
trusts it in a browser risks no public site, even if its key is stolen. The one for all names exists only where a
config asks for `internal` certificates of other names. A name constraint cannot be added to a root later, so one root
cannot be both.

Each root and each certificate is one value, together with its private key, so that both are replaced at once.
`tls.internal` makes what a config needs before it is served, `tls.renewal` renews it.
"""

from __future__ import annotations

import asyncio
import binascii
import hashlib
import logging
import re
import shlex
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct

from npserver.errors import NpserverError
from npserver.regex import regex
from npserver.tls.local_names import is_local_name
from npserver.tls.machine import machine_names
from npserver.tls.x509 import Certificate, CertificateError, parse_pem

if TYPE_CHECKING:
    from npserver.store.interface import Store
    from npserver.tls.authority import Authority

log = logging.getLogger("npserver.tls")

T = TypeVar("T")

LOCAL_ROOT, OTHER_ROOT = "authority/local-names.pem", "authority/all-names.pem"
#: The words for the roots in `npserver cert -root`.
ROOTS = {"local": LOCAL_ROOT, "other": OTHER_ROOT}
LEAVES = "authority/certificates/"
#: Clocks of small machines begin at 1970 until they are set. A root made before this time is good after it, too.
_RELEASED = datetime(2026, 11, 1, tzinfo=UTC)

_CERTIFICATE = regex(rb"-----BEGIN CERTIFICATE-----\s(.+?)-----END CERTIFICATE-----", re.DOTALL)
_UNUSUAL = regex(r"[^A-Za-z0-9.:-]|^[.-]")  # in a name that is part of a key
_MARK = b"npserver: root %b names %b\n"  # first line of a certificate's value; PEM parsers skip it


class AuthorityError(NpserverError):
    """The root cannot sign. The message says which value of the store is at fault, and what to do."""


class Wanted(Struct, frozen=True):
    """A certificate that a config needs."""

    names: tuple[str, ...]
    of_machine: bool  # also for this machine's names and addresses, whatever they are at the time
    life_s: float

    @property
    def key(self) -> str:
        """The key in the store. It stays when the machine's addresses change."""
        text = f"{' '.join(self.names)} {self.of_machine} {self.life_s:g}"
        label = _UNUSUAL.sub("_", self.names[0])[:100] if self.names else "this-machine"
        return f"{LEAVES}{label}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.pem"

    @property
    def root(self) -> str:
        """The key of the root that signs it."""
        return LOCAL_ROOT if all(map(is_local_name, self.names)) else OTHER_ROOT

    def all_names(self) -> tuple[str, ...]:
        """Return the names that it must have now."""
        return tuple(dict.fromkeys([*self.names, *(machine_names() if self.of_machine else ())]))


class LocalAuthority:
    """The roots and the certificates in a store. `in_threads`: signing, which takes a while, is done in threads."""

    __slots__ = ("_in_threads", "_store")

    def __init__(self, store: Store, *, in_threads: bool = True) -> None:
        self._store = store
        self._in_threads = in_threads

    def __repr__(self) -> str:
        return f"<LocalAuthority {self._store!r}>"

    def place(self, key: str) -> str:
        """Return the file of a key, as the store has it."""
        return _place(self._store, key)

    def command(self, root: str) -> str:
        """Return the command that prints a root of this store."""
        return root_command(root, _directory(self._store))

    async def ensure(self, wanted: Wanted, now: float) -> str:
        """Have a certificate in the store that can be used; make the root and the certificate if need be.

        Return what the operator should know of a root that cannot sign while the certificate is good; "" if all is
        well. Raises: AuthorityError, StoreError; ValueError for a name that no certificate can have.
        """
        root, leaf = await self._store.get(wanted.root), await self._store.get(wanted.key)
        if is_usable(leaf, wanted.all_names(), now):
            if root is not None and leaf is not None and _fingerprint(root) == _root_of(leaf):
                return ""
            if root is not None and not _fingerprint(root):
                return str(damaged(_place(self._store, wanted.root), "no certificate in it"))
        await self.renew(wanted, now)
        return ""

    async def renew(self, wanted: Wanted, now: float) -> None:
        """Make a new certificate, unless another process just did. Raises: as `ensure`."""
        before = await self._store.get(wanted.key)
        authority = await self._root(wanted.root, now)
        names = wanted.all_names()
        value = await self._compute(lambda: make_leaf(authority, names, wanted.life_s, now))
        await self._store.compare_and_swap(wanted.key, before, value)

    async def window(self, wanted: Wanted, now: float) -> tuple[float, float] | None:
        """Return from when until when the certificate need not be renewed; None if it should be.

        It should be when two thirds of its life are over, when the clock or its names have changed, and when its value
        or its root are gone or damaged.
        """
        leaf, root = await self._store.get(wanted.key), await self._store.get(wanted.root)
        if leaf is None or root is None or not is_usable(leaf, wanted.all_names(), now):
            return None
        certificate = parse_pem(leaf)
        renewed_at = renewal_time(certificate)
        if _fingerprint(root) != _root_of(leaf) or now >= renewed_at:
            return None
        return certificate.not_before.timestamp(), renewed_at

    async def forget(self, kept: set[str], now: float) -> None:
        """Remove certificates that have expired and are not among the `kept` keys. Raises: StoreError."""
        for key in await self._store.list(LEAVES):
            leaf = await self._store.get(key) if key not in kept else None
            try:
                if leaf is not None and parse_pem(leaf).not_after.timestamp() < now:
                    await self._store.compare_and_swap(key, leaf, None)
            except CertificateError:
                continue

    async def _root(self, key: str, now: float) -> Authority:
        value = await self._store.get(key)
        if value is None:
            if key == LOCAL_ROOT and await self._has_local_leaf():
                log.warning("the root of the local authority is gone from the store (%s): a new one is made", key)
                log.warning("clients have to trust the new root, unless you restore the old one: %s", self.command(key))
            made = await self._compute(lambda: make_root(key, now))
            await self._store.compare_and_swap(key, None, made)
            value = await self._store.get(key) or made  # that of another process, if it was faster
        root = value
        authority = await self._compute(lambda: _load(self._store, key, root))
        end = authority.certificate.not_valid_after_utc
        if end.timestamp() <= now:
            raise AuthorityError(
                f"{_place(self._store, key)}: the root of the local authority expired on {end:%Y-%m-%d}: if the clock "
                "is right, remove the file; a new root is then made, which clients have to trust"
            )
        return authority

    async def _has_local_leaf(self) -> bool:
        """Return whether the root of local names has signed one of the certificates in the store."""
        for key in await self._store.list(LEAVES):
            names = _names_of(await self._store.get(key) or b"")
            if names and all(map(is_local_name, names)):
                return True
        return False

    async def _compute(self, work: Callable[[], T]) -> T:
        return await asyncio.to_thread(work) if self._in_threads else work()


def is_usable(leaf: bytes | None, names: tuple[str, ...], now: float) -> bool:
    """Whether a stored certificate is valid at `now` and for exactly these names."""
    if leaf is None or _names_of(leaf) != names:
        return False
    try:
        certificate = parse_pem(leaf)
    except CertificateError:
        return False
    return certificate.not_before.timestamp() <= now < certificate.not_after.timestamp()


def renewal_time(certificate: Certificate) -> float:
    """Return when two thirds of a certificate's life are over."""
    from npserver.tls.authority import CLOCK_SKEW

    begin, end = (certificate.not_before + CLOCK_SKEW).timestamp(), certificate.not_after.timestamp()
    return begin + (end - begin) * 2 / 3


def make_root(key: str, now: float) -> bytes:
    """Return the value of a new root: its private key and its certificate."""
    from npserver.tls.authority import CLOCK_SKEW, ROOT_LIFE, make_authority

    when = datetime.fromtimestamp(now, UTC)
    only_local = key == LOCAL_ROOT
    kind = "local names" if only_local else "all names"
    name = f"npserver {kind} {when:%Y-%m-%d} {socket.gethostname()}"
    begin, end = min(when, _RELEASED) - CLOCK_SKEW, max(when, _RELEASED) + ROOT_LIFE
    authority = make_authority(name, begin, end, only_local=only_local)
    return authority.key_pem + authority.pem


def make_leaf(authority: Authority, names: tuple[str, ...], life_s: float, now: float) -> bytes:
    """Return the value of a new certificate: its mark, its private key and the certificate. Raises: ValueError."""
    from npserver.tls.authority import CLOCK_SKEW, issue, key_pem, pem

    when = datetime.fromtimestamp(now, UTC)
    certificate, private = issue(
        names,
        authority,
        when - CLOCK_SKEW,
        when + timedelta(seconds=life_s),
        common_name="npserver internal certificate",  # with spaces: else OpenSSL takes it for a host name to constrain
    )
    mark = _MARK % (_fingerprint(authority.pem).encode(), " ".join(names).encode())
    return mark + key_pem(private) + pem(certificate)


def certificate_of(value: bytes) -> bytes:
    """Return the PEM certificate in the value of a root, without the key. Raises: CertificateError."""
    match = _CERTIFICATE.search(value)
    if match is None or not _fingerprint(value):
        raise CertificateError("no PEM certificate in it")
    return match[0] + b"\n"


def _load(store: Store, key: str, value: bytes) -> Authority:
    from npserver.tls.authority import load_authority

    try:
        return load_authority(certificate_of(value), value)
    except ValueError:  # OpenSSL's words do not help, and must not quote a key
        raise damaged(_place(store, key), "key and certificate cannot be read") from None


def damaged(place: str, reason: str) -> AuthorityError:
    """Return the error for a root that cannot be read, in the file `place`."""
    return AuthorityError(
        f"{place}: the root of the local authority is damaged ({reason}): restore the file from a backup, "
        "or remove it; a new root is then made, which clients have to trust"
    )


def root_command(root: str, directory: str) -> str:
    """Return the command that prints a root of the store in a directory, whoever calls it, and from wherever.

    Which store a config has depends on the user and the environment of the server, where it does not say so.
    """
    (word,) = [word for word, key in ROOTS.items() if key == root]
    return f"npserver cert -root {word}" + (f" -store {shlex.quote(directory)}" if directory else "")


def _directory(store: Store) -> str:
    directory: str = getattr(getattr(store, "files", None), "directory", "")
    return directory


def _place(store: Store, key: str) -> str:
    directory = _directory(store)
    return f"{directory}/{key}" if directory else key


def _fingerprint(value: bytes) -> str:
    """Return the SHA-256 of the first certificate in a value; "" if there is none."""
    match = _CERTIFICATE.search(value)
    try:
        return hashlib.sha256(binascii.a2b_base64(match[1])).hexdigest() if match else ""
    except binascii.Error:
        return ""


def _root_of(leaf: bytes) -> str:
    words = leaf.partition(b"\n")[0].split()
    return words[2].decode("ascii", "replace") if len(words) > 2 else ""


def _names_of(leaf: bytes) -> tuple[str, ...]:
    return tuple(leaf.partition(b"\n")[0].decode("ascii", "replace").split()[4:])
