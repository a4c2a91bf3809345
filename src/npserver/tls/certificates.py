"""Certificates and TLS settings: contexts for clients of ours and towards upstreams, certificates chosen by name.

Each certificate has a context of its own, chosen by the ClientHello's server name before TLS begins. So nothing is
shared between names: a session of one cannot be resumed at another that asks for client certificates (the fault of
CVE-2025-23419), and each has its own settings for verifying clients.

A context's keys for session tickets are made with it. `CertificateStore` keeps contexts by their settings; the master
fills one before it forks, so that all workers hold the same keys and a client may resume at any of them. For those that
come with a reload it makes a few spare contexts before the fork too, and says which of them is for which certificate.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct, to_builtins

from npserver.runtime.context import PerProcess
from npserver.tls.files import FileState, TlsFiles
from npserver.tls.x509 import Certificate, parse_pem

if TYPE_CHECKING:
    pass

#: TLS 1.2 only with forward secrecy and authenticated encryption (RFC 9325 §4.2); TLS 1.3 has nothing else.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
SPARES = 8  # certificates added by reloads until the next start that workers share the ticket keys of; 0.5 ms each


class CertificateSettings(Struct, frozen=True):
    """A certificate and how TLS is spoken with it. Paths are absolute."""

    cert: str
    key: str
    client_ca: str | None = None
    client_auth: Literal["require", "request"] = "require"
    min_version: Literal["1.2", "1.3"] = "1.2"
    http2: bool = False  # offered to clients (ALPN)

    @property
    def files(self) -> tuple[str, ...]:
        """The files it is made of."""
        return (self.cert, self.key, *((self.client_ca,) if self.client_ca else ()))


class Identity:
    """A certificate in use. `context` is replaced or changed in place when its files change."""

    __slots__ = ("_files", "certificate", "context", "problem", "settings", "states")

    def __init__(self, settings: CertificateSettings, files: TlsFiles, context: ssl.SSLContext | None = None) -> None:
        """Load it, into `context` if there is one. Raises: OSError, ssl.SSLError, CertificateError."""
        self.settings = settings
        self._files = files
        self.states = self._look()
        self.certificate, self.context = _load(settings, files, context)
        self.problem = ""  # why the files as they are now cannot be used

    def __repr__(self) -> str:
        return f"<Identity {self.settings.cert} {','.join(self.certificate.names)}>"

    def refresh(self) -> bool:
        """Load the files again if they have changed; one that cannot be used leaves the old one in place.

        Where only the certificate was renewed the context stays, and with it the sessions of its clients: the new
        chain is loaded into it. Everything else takes a new one. Gives whether anything was tried; see `problem`.
        """
        states = self._look()
        if states == self.states:
            return False
        self.states = states  # what cannot be used is not tried over and over
        old = self.certificate
        try:
            self.certificate, context = _load(self.settings, self._files)
            if self.certificate.key_kind == old.key_kind and self.settings.client_ca is None:
                _load_chain(self.context, self.settings.cert, self.settings.key, self._files)
            else:
                self.context = context
            self.problem = ""
        except (OSError, ValueError) as error:
            self.certificate = old
            self.problem = explain(error)
        return True

    def _look(self) -> tuple[FileState, ...]:
        return tuple(map(self._files.state, self.settings.files))


class CertificateStore:
    """The certificates of one process by their settings. Filled before the fork, it makes all workers resume alike."""

    __slots__ = ("_places", "_spares", "files", "identities")

    def __init__(self) -> None:
        self.files = TlsFiles()
        #: Which spare is for which certificate: no two may ever share one, or a session of one were good for the other.
        self._places: dict[CertificateSettings, int] = {}
        self._spares: dict[int, ssl.SSLContext] = {}
        self.identities: dict[CertificateSettings, Identity] = {}

    def __repr__(self) -> str:
        return f"<CertificateStore {list(self.identities.values())}>"

    def identity(self, settings: CertificateSettings) -> Identity:
        """The certificate with these settings, as its files are now, or as they last were usable.

        Raises: OSError, ssl.SSLError, CertificateError.
        """
        found = self.identities.get(settings)
        if found is None:
            place = self._places.setdefault(settings, len(self._places))
            found = self.identities[settings] = Identity(settings, self.files, self._spares.pop(place, None))
        else:
            found.refresh()
        return found

    def make_spares(self) -> None:
        """Make contexts for certificates to come: once, before the fork, by a master that serves TLS at all."""
        if self.identities:
            first = len(self._places)
            self._spares = {first + number: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for number in range(SPARES)}

    def places(self) -> list[tuple[dict[str, Any], int]]:
        """Which spare each certificate has, for `take_places` in processes forked earlier."""
        return [(to_builtins(settings), place) for settings, place in self._places.items()]

    def take_places(self, places: Iterable[tuple[dict[str, Any], int]]) -> None:
        """Go by what the master has decided."""
        self._places = {CertificateSettings(**settings): place for settings, place in places}

    def refresh(self) -> list[Identity]:
        """Look at all files again. Gives the certificates whose files have changed."""
        return [identity for identity in self.identities.values() if identity.refresh()]


class ServerTls:
    """The certificates of a listener, chosen by the name a client asks for; the first is the default."""

    __slots__ = ("_by_name", "_wildcards", "default", "identities", "is_single", "verifies_differently")

    def __init__(self, identities: Iterable[tuple[Identity, Iterable[str]]]) -> None:
        """Give each certificate with its names, from the settings or its own."""
        named = list(identities)
        self.identities = tuple(identity for identity, _ in named)
        self.default = self.identities[0]
        self.is_single = len(self.identities) == 1
        self._by_name: dict[str, Identity] = {}
        self._wildcards: dict[str, Identity] = {}
        for identity, names in named:
            for name in names:
                if name.startswith("*."):
                    self._wildcards.setdefault(name[2:], identity)
                else:
                    self._by_name.setdefault(name, identity)
        asked = {(one.settings.client_ca, one.settings.client_auth) for one in self.identities}
        self.verifies_differently = len(asked) > 1

    def __repr__(self) -> str:
        return f"<ServerTls {' '.join(map(repr, self.identities))}>"

    @property
    def offers_http2(self) -> bool:
        """Whether any of them is for HTTP/2 too."""
        return any(one.settings.http2 for one in self.identities)

    def choose(self, name: str) -> Identity:
        """The certificate for a server name: the exact one, a wildcard's (RFC 9525 §6.3: one label), the default."""
        found = self._by_name.get(name)
        if found is None:
            found = self._wildcards.get(name.partition(".")[2], self.default)
        return found

    def is_misdirected(self, identity: Identity, host: str) -> bool:
        """Whether a request for `host` must not use a connection that was made with `identity` (RFC 9110 §15.5.20).

        It must not if the host's own certificate asks for client certificates otherwise: else a client would get
        around showing one by naming another server in the handshake.
        """
        if not self.verifies_differently:
            return False
        meant = self.choose(host).settings
        return (meant.client_ca, meant.client_auth) != (identity.settings.client_ca, identity.settings.client_auth)


#: The certificates of a process; the master's are handed to its children.
CERTIFICATES = PerProcess(lambda context: CertificateStore())


def client_context(
    ca: str | None = None,
    cert: str | None = None,
    key: str | None = None,
    *,
    insecure: bool = False,
    files: TlsFiles | None = None,
) -> ssl.SSLContext:
    """How TLS is begun towards upstreams. Raises: OSError, ssl.SSLError."""
    files = files or TlsFiles()
    with files.readable(ca) if ca is not None else contextlib.nullcontext() as trusted:
        context = ssl.create_default_context(cafile=trusted)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if cert is not None:
        _load_chain(context, cert, key or cert, files)
    return context


def explain(error: Exception) -> str:
    """Why a certificate cannot be used, in words for the operator."""
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).upper()
        if "KEY_VALUES_MISMATCH" in reason or "KEY_TYPE_MISMATCH" in reason:
            return "the private key does not belong to the certificate"
        if "NO_START_LINE" in reason or "PEM LIB" in reason or "BAD_BASE64" in reason or "ASN1" in reason:
            return "no usable PEM file"
        if "NO_CERTIFICATE_OR_CRL_FOUND" in reason:
            return "no PEM certificate (-----BEGIN CERTIFICATE-----) in it"
        return reason.replace("_", " ").lower()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error)


def _load(
    settings: CertificateSettings, files: TlsFiles, context: ssl.SSLContext | None = None
) -> tuple[Certificate, ssl.SSLContext]:
    certificate = parse_pem(files.read(settings.cert))
    context = context or ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if settings.min_version == "1.3" else ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["h2", "http/1.1"] if settings.http2 else ["http/1.1"])
    context.sni_callback = _note_name
    _load_chain(context, settings.cert, settings.key, files)
    if settings.client_ca is not None:
        with files.readable(settings.client_ca) as client_ca:
            context.load_verify_locations(cafile=client_ca)
        context.verify_mode = ssl.CERT_REQUIRED if settings.client_auth == "require" else ssl.CERT_OPTIONAL
    return certificate, context


def _load_chain(context: ssl.SSLContext, cert: str, key: str, files: TlsFiles) -> None:
    with files.readable(cert) as chain, files.readable(key) as secret:
        context.load_cert_chain(chain, secret, _no_password)


def _note_name(connection: Any, name: str | None, context: ssl.SSLContext) -> None:
    """Keep the server name that the client asks for: the variable `$sni`."""
    connection.sni = name


def _no_password() -> str:
    """Called for an encrypted key, instead of OpenSSL's asking on the terminal."""
    raise ValueError("the private key is encrypted: npserver cannot ask for a password, decrypt it with openssl pkey")
