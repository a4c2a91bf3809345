"""Loaded certificates with their SSL contexts: of listeners, chosen by server name, and of clients towards upstreams.

Each certificate has an SSL context of its own, chosen by the server name in the ClientHello before TLS begins. Contexts
share nothing: a session of one certificate cannot be resumed at another that requires client certificates (the fault of
CVE-2025-23419), and each verifies clients by its own settings.
"""

from __future__ import annotations

import contextlib
import hashlib
import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from msgspec.structs import replace

from npserver.tls.config import CertificateSettings
from npserver.tls.files import FileState, TlsFiles
from npserver.tls.revocation import RevocationList, parse_lists
from npserver.tls.ticket_keys import NAME_BYTES, TicketSecrets, derive, set_keys
from npserver.tls.x509 import Certificate, parse_pem

#: TLS 1.2 only with forward secrecy and authenticated encryption (RFC 9325 §4.2); TLS 1.3 has nothing else.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
MAX_PASSPHRASE_BYTES = 1024  # the limit of OpenSSL


class PassphraseError(ValueError):
    """A private key is encrypted, and there is no passphrase for it, or none that decrypts it."""

    def __init__(self, message: str, *, is_given: bool) -> None:
        super().__init__(message)
        self.is_given = is_given  # the passphrase's file is at fault; else there is none


class LoadedCertificate:
    """A certificate with its private key in an SSL context, which is updated or replaced when the files change.

    With `alternatives` in its settings, the context holds a certificate for each type of key. OpenSSL uses the first in
    the order of its signature algorithms that the client can verify: ECDSA before RSA.
    """

    __slots__ = ("_files", "_identity", "_key_kinds", "_old_context", "_old_keys", "_secrets", "certificate",
                 "changed_file", "context", "derived", "fault", "revocation_lists", "settings", "states")  # fmt: skip

    def __init__(self, settings: CertificateSettings, files: TlsFiles, secrets: TicketSecrets) -> None:
        """Load the files. Raises: OSError, ssl.SSLError, CertificateError, RevocationError."""
        self.settings = settings
        self._files = files
        self.states = self._read_states()  # before the files: if one changes meanwhile, the next refresh loads it
        present = files.snapshot(self._all_files())
        #: The revocation lists of `client_crl`, with their files.
        self.revocation_lists = _read_lists(settings, present)
        self._identity = _identify(settings, present)
        self.certificate, self._key_kinds, self.context = _load(settings, present)
        self._old_keys = b""  # of tickets that are still accepted; b"": there are none
        self._old_context: ssl.SSLContext | None = None  # made for the first of these tickets
        self.set_ticket_keys(secrets)
        #: Why the present files cannot be used.
        self.fault: OSError | ValueError | None = None
        self.changed_file = ""  # the first of the files that had changed at the last refresh
        self.derived: Any = None  # what `listen.quic.keys` has made of the files

    def __repr__(self) -> str:
        return f"<LoadedCertificate {self.settings.cert} {','.join(self.certificate.names)}>"

    def context_for(self, hello: bytes) -> ssl.SSLContext:
        """Return the context for a ClientHello: if it brings a ticket of the previous keys, the one that has these."""
        if not self._old_keys or self._old_keys[:NAME_BYTES] not in hello:
            return self.context
        if self._old_context is None:
            with contextlib.suppress(OSError, ValueError):
                _, _, context = _load(self.settings, self._files)
                self._old_context = context if set_keys(context, self._old_keys) else None
        return self._old_context or self.context

    def set_ticket_keys(self, secrets: TicketSecrets, *, is_renewal: bool = False) -> None:
        """Set the ticket keys. Where Python does not let them be set, a renewal makes a context, which has others."""
        self._secrets = secrets
        self._old_context = None
        if set_keys(self.context, derive(secrets.current, self._identity)):
            self._old_keys = derive(secrets.previous, self._identity) if secrets.previous else b""
        elif is_renewal:
            with contextlib.suppress(OSError, ValueError):
                _, _, self.context = _load(self.settings, self._files)

    def refresh(self) -> bool:
        """Load the files again if they have changed. If they cannot be used, the old certificate stays.

        A renewed certificate is loaded into the old context, so that clients can resume their sessions. Where the kind
        of key changes, or clients show certificates, a new context is made. OpenSSL does not verify a client again that
        resumes a session: after a change of `client_ca` or `client_crl` the keys are others. Return whether the files
        have changed.
        """
        states = self._read_states()
        if states == self.states:
            return False
        pairs = zip(self._all_files(), states, self.states, strict=True)
        self.changed_file = next(file for file, state, before in pairs if state != before)
        self.states = states  # files that cannot be used are not loaded again and again
        try:
            present = self._files.snapshot(self._all_files())  # what `_load` has tried is what the context in use gets
            lists = _read_lists(self.settings, present)
            identity = _identify(self.settings, present)
            certificate, key_kinds, context = _load(self.settings, present)
            if key_kinds == self._key_kinds and self.settings.client_ca is None:
                _load_chains(self.context, self.settings, present)
            else:
                self.context = context
            self.certificate, self._key_kinds, self.revocation_lists = certificate, key_kinds, lists
            self._identity = identity
            self.set_ticket_keys(self._secrets)
            self.derived = None
            self.fault = None
        except (OSError, ValueError) as error:
            self.fault = error
        return True

    def read_chains(self) -> list[tuple[bytes, bytes, bytes | None]]:
        """Return the contents of the files of each certificate: chain, private key and passphrase. Raises: OSError."""
        return [
            (
                self._files.read(cert),
                self._files.read(key),
                _passphrase(passphrase, self._files) if passphrase else None,
            )
            for cert, key, passphrase in _chains(self.settings)
        ]

    @property
    def problem(self) -> str:
        """The reason why the present files cannot be used, in words for the operator; "" if they can."""
        return explain(self.fault) if self.fault is not None else ""

    def _all_files(self) -> list[str]:
        settings = self.settings
        files = [file for chain in _chains(settings) for file in chain if file is not None]
        return [*files, *([settings.client_ca] if settings.client_ca else []), *settings.client_crl]

    def _read_states(self) -> tuple[FileState, ...]:
        return tuple(map(self._files.state, self._all_files()))


class Waiter(Protocol):
    """A handshake that waits for a certificate: `tls.accept.TlsServer`."""

    def decided(self, *, is_there: bool) -> None:
        """Called when it is known whether there is a certificate. It does not wait any more then."""


class ServerTls:
    """The certificates of a listener, chosen by the server name in the ClientHello; the first is the default."""

    __slots__ = (
        "_by_name",
        "_keys",
        "_wildcards",
        "certificates",
        "default",
        "on_failure",
        "verifies_differently",
        "wait_s",
    )

    def __init__(
        self,
        certificates: Iterable[tuple[LoadedCertificate, Iterable[str]]],
        keys: Mapping[CertificateSettings, str],
    ) -> None:
        """Create it from certificates and the server names of each. `keys`: their config keys by settings."""
        self._keys = keys
        named = list(certificates)
        self.certificates = tuple(one for one, _ in named)
        self.default = self.certificates[0]
        self._by_name: dict[str, LoadedCertificate] = {}
        self._wildcards: dict[str, LoadedCertificate] = {}
        for one, names in named:
            for name in names:
                if name.startswith("*."):
                    self._wildcards.setdefault(name[2:], one)
                else:
                    self._by_name.setdefault(name, one)
        settings = [one.settings for one in self.certificates]
        asked = {(one.client_ca, one.client_auth, one.client_crl) for one in settings}
        self.verifies_differently = len(asked) > 1
        self.on_failure: Callable[[str], None] | None = None  # called with the address of a client that broke TLS
        self.wait_s = 0.0  # how long a handshake waits for its certificate; only on demand does it

    def __repr__(self) -> str:
        return f"<ServerTls {' '.join(map(repr, self.certificates))}>"

    @property
    def offers_http2(self) -> bool:
        """Whether any of the certificates is used with HTTP/2."""
        return any(one.settings.http2 for one in self.certificates)

    def choose(self, name: str) -> LoadedCertificate | None:
        """Return the certificate of a server name, of a wildcard (for one label, RFC 9525 §6.3), or the default.

        None if the handshake should wait: see `wait`.
        """
        found = self._by_name.get(name)
        if found is None:
            found = self._wildcards.get(name.partition(".")[2], self.default)
        return found

    def present(self, name: str) -> LoadedCertificate:
        """Return the certificate of a server name or the default, whichever there is now."""
        return self.choose(name) or self.default

    def load(self, name: str) -> LoadedCertificate:
        """Return the certificate of a server name that was waited for, or the default."""
        return self.present(name)

    def wait(self, name: str, waiter: Waiter, address: str) -> None:
        """Have a handshake wait for a certificate, until its `decided` is called. `address`: the client's."""
        raise NotImplementedError

    def stop_waiting(self, name: str, waiter: Waiter, *, is_late: bool) -> str:
        """Forget a handshake that waits. Return the config key of the time that it may wait."""
        raise NotImplementedError

    def misdirected_by(self, used: LoadedCertificate, host: str) -> str:
        """Return the config key by which a request for `host` must be refused on a connection with certificate `used`.

        It must if the certificate of `host` asks for client certificates in another way: a client could avoid showing
        one by naming another server in the handshake (421, RFC 9110 §15.5.20). "" if it need not.
        """
        wanted = self.present(host).settings
        for name in ("client_ca", "client_auth", "client_crl"):
            if getattr(wanted, name) != getattr(used.settings, name):
                return f"{self._key_of(wanted)}.{name}"
        return ""

    def _key_of(self, settings: CertificateSettings) -> str:
        """Return the config key of a certificate."""
        return self._keys[replace(settings, alternatives=())]


def client_context(
    ca: str | None = None,
    cert: str | None = None,
    key: str | None = None,
    key_passphrase: str | None = None,
    *,
    insecure: bool = False,
    files: TlsFiles | None = None,
) -> ssl.SSLContext:
    """Return the SSL context for connections to upstreams. Raises: OSError, ssl.SSLError, PassphraseError."""
    files = files or TlsFiles()
    with files.readable(ca) if ca is not None else contextlib.nullcontext() as trusted:
        context = ssl.create_default_context(cafile=trusted)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if cert is not None:
        _load_chain(context, cert, key or cert, key_passphrase, files)
    return context


def explain(error: Exception) -> str:
    """Return the reason why a certificate cannot be used, in words for the operator."""
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).upper()
        if "KEY_VALUES_MISMATCH" in reason or "KEY_TYPE_MISMATCH" in reason:
            return "the private key does not belong to the certificate"
        if "NO_CERTIFICATE_ASSIGNED" in reason:
            return "the private key does not belong to the certificate: it is of another type than the certificate's"
        if "NO_START_LINE" in reason or "PEM LIB" in reason or "BAD_BASE64" in reason or "ASN1" in reason:
            return "not a usable PEM file"
        if "NO_CERTIFICATE_OR_CRL_FOUND" in reason:
            return "no PEM certificate (-----BEGIN CERTIFICATE-----) in it"
        return reason.replace("_", " ").lower()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error)


def _load(settings: CertificateSettings, files: TlsFiles) -> tuple[Certificate, list[str], ssl.SSLContext]:
    """Return the certificate, the types of the keys of all, and the context."""
    certificates = [parse_pem(files.read(cert)) for cert, _, _ in _chains(settings)]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if settings.min_version == "1.3" else ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION
    if settings.http1:
        context.set_alpn_protocols(["h2", "http/1.1"] if settings.http2 else ["http/1.1"])
    _load_chains(context, settings, files)
    if settings.client_ca is not None:
        with files.readable(settings.client_ca) as client_ca:
            context.load_verify_locations(cafile=client_ca)
        context.verify_mode = ssl.CERT_REQUIRED if settings.client_auth == "require" else ssl.CERT_OPTIONAL
        for crl in settings.client_crl:
            with files.readable(crl) as file:
                context.load_verify_locations(cafile=file)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    return certificates[0], [one.key_kind for one in certificates], context


def _identify(settings: CertificateSettings, files: TlsFiles) -> bytes:
    """Return a digest that differs for other settings, and for other contents of the files that verify clients."""
    digest = hashlib.sha256(repr(settings).encode())
    for file in filter(None, (settings.client_ca, *settings.client_crl)):
        digest.update(hashlib.sha256(files.read(file)).digest())
    return digest.digest()


def _read_lists(settings: CertificateSettings, files: TlsFiles) -> list[tuple[str, RevocationList]]:
    """Return the revocation lists of all files, each with its file. Raises: OSError, RevocationError."""
    return [(file, found) for file in settings.client_crl for found in parse_lists(files.read(file), file)]


def _chains(settings: CertificateSettings) -> list[tuple[str, str, str | None]]:
    """Return the files of all certificates, keys and passphrases."""
    return [(settings.cert, settings.key, settings.key_passphrase), *settings.alternatives]


def _load_chains(context: ssl.SSLContext, settings: CertificateSettings, files: TlsFiles) -> None:
    """Load all certificates with their keys. The context has a place for each type of key."""
    for cert, key, passphrase in _chains(settings):
        _load_chain(context, cert, key, passphrase, files)


def _load_chain(context: ssl.SSLContext, cert: str, key: str, passphrase: str | None, files: TlsFiles) -> None:
    was_asked = False

    def answer() -> bytes:
        """Called by OpenSSL for an encrypted key, instead of asking for the passphrase on the terminal."""
        nonlocal was_asked
        was_asked = True
        if passphrase is None:
            message = "the private key is encrypted: 'key_passphrase' must name a file with its passphrase"
            raise PassphraseError(message, is_given=False)
        line = _passphrase(passphrase, files)
        if len(line) > MAX_PASSPHRASE_BYTES:
            raise PassphraseError(f"its first line is longer than {MAX_PASSPHRASE_BYTES} bytes", is_given=True)
        return line

    with files.readable(cert) as chain, files.readable(key) as secret:
        try:
            context.load_cert_chain(chain, secret, answer)
        except ssl.SSLError as error:
            if was_asked and not _is_mismatch(error):
                message = "its first line is not the passphrase of the private key"
                raise PassphraseError(message, is_given=True) from None
            raise


def _passphrase(file: str, files: TlsFiles) -> bytes:
    return files.read(file).partition(b"\n")[0].removesuffix(b"\r")


def _is_mismatch(error: ssl.SSLError) -> bool:
    """Return whether the private key could be read and does not belong to the certificate."""
    reason = (error.reason or str(error)).upper()
    return any(words in reason for words in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"))
