"""Requests to a CA in threads that end with their caller, each bounded in size and time.

`acme` signs the requests and reads the answers; it blocks. Its own transport reads answers of any size, and waits for
as long as something comes now and then. This one has a socket that its caller can shut down: at a deadline or a
cancellation the thread gets an error at once. Only the system's look-up of a host name cannot be interrupted; it ends
by the limits of the system's resolver, in a thread that nobody waits for.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import socket
import ssl
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

import acme.errors
import requests
from acme import messages
from acme.client import ClientNetwork
from josepy.errors import Error as JoseError
from josepy.jwa import ES256
from josepy.jwk import JWK
from msgspec import MsgspecError

from npserver import __version__
from npserver.errors import clip, reason_of
from npserver.http.dates import retry_after_s
from npserver.tls.acme.problems import MAX_NAMES, AcmeError, NameProblem, kind_of, plain
from npserver.tls.acme.settings import Limits

T = TypeVar("T")

#: Codes of OpenSSL for certificates whose signer is not trusted: X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT,
#: DEPTH_ZERO_SELF_SIGNED_CERT, SELF_SIGNED_CERT_IN_CHAIN, ..._ISSUER_CERT_LOCALLY, UNABLE_TO_VERIFY_LEAF_SIGNATURE.
_NO_ISSUER = (2, 18, 19, 20, 21)

#: What `acme` and `josepy` raise for answers that are none. RecursionError: JSON with a million brackets.
_MALFORMED = (
    *(JoseError, acme.errors.Error, http.client.HTTPException, MsgspecError),
    *(ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError),
)


class Network(ClientNetwork):
    """The requests of one order: one after another, each on a connection of its own."""

    def __init__(self, key: JWK, trust: ssl.SSLContext, limits: Limits) -> None:
        super().__init__(key=key, alg=ES256, user_agent=f"npserver/{__version__}")
        self._trust = trust
        self._limits = limits
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._is_aborted = False
        # request
        self.status = 0
        self.retry_after_s: float | None = None

    def __repr__(self) -> str:
        return f"<Network status={self.status}>"

    def abort(self) -> None:
        """End the request in progress with an error, and allow no more; called from another thread."""
        with self._lock:
            self._is_aborted = True
            if self._socket is not None:
                try:
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # that of SSLSocket would drop its TLS state
                except OSError:
                    pass  # not connected yet, or not any more

    def post(self, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a signed request, again with a new nonce where the last was refused (RFC 8555 §6.5)."""
        tries = self._limits.nonce_tries
        while True:
            try:
                return self._post_once(*args, **kwargs)
            except messages.Error as error:
                tries -= 1
                if error.code != "badNonce" or tries <= 0:
                    raise

    def _send_request(self, method: str, url: str, *args: Any, **kwargs: Any) -> requests.Response:
        """Send one request, follow no redirect, and return the answer with its whole body.

        Raises: AcmeError for URLs and answers that are refused, OSError, http.client.HTTPException.
        """
        self.status, self.retry_after_s = 0, None
        address = urlsplit(url) if isinstance(url, str) else None
        if address is None or address.scheme != "https" or not address.hostname:
            raise AcmeError(f"the CA gives {clip(plain(url))} as a URL: https is required", kind="malformedAnswer")
        host, port = address.hostname, address.port or 443
        connection = http.client.HTTPSConnection(host, port, context=self._trust)
        tls = self._dial(host, port)
        try:
            tls.do_handshake()
            connection.sock = tls
            headers = {"User-Agent": self.user_agent, "Connection": "close", **kwargs.get("headers", {})}
            path = (address.path or "/") + (f"?{address.query}" if address.query else "")
            connection.request(method, path, kwargs.get("data"), headers)
            with connection.getresponse() as response:  # closed, or it would keep the socket open
                answer = self._read(response, url)
        finally:
            self._hold(None)
            connection.close()
            tls.close()
        if answer.status_code >= 400 and self.REPLAY_NONCE_HEADER in answer.headers:
            self._add_nonce(answer)  # `acme` keeps only those of other answers
        return answer

    def _dial(self, host: str, port: int) -> ssl.SSLSocket:
        """Connect to the first address that answers."""
        failure: OSError = OSError("the host has no address")
        for family, kind, protocol, _, where in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            plain_socket = socket.socket(family, kind, protocol)
            plain_socket.settimeout(self._limits.request_s)
            self._hold(plain_socket)
            try:
                plain_socket.connect(where)
            except OSError as error:
                failure = error
                self._hold(None)
                plain_socket.close()
                continue
            tls = self._trust.wrap_socket(plain_socket, server_hostname=host, do_handshake_on_connect=False)
            self._hold(tls)
            return tls
        raise failure

    def _hold(self, connection: socket.socket | None) -> None:
        """Let `abort` shut down this socket from now on."""
        with self._lock:
            self._socket = connection
            if self._is_aborted and connection is not None:
                self._socket = None
                connection.close()
                raise TimeoutError

    def _read(self, answer: http.client.HTTPResponse, url: str) -> requests.Response:
        most = self._limits.answer_bytes
        self.status = answer.status
        self.retry_after_s = retry_after_s(answer.headers.get("Retry-After"), time.time())
        body = answer.read(most + 1)
        if len(body) > most:
            raise AcmeError(f"the CA answers with more than {most} bytes", kind="malformedAnswer", status=self.status)
        if answer.length:
            raise AcmeError("the CA's answer was cut off", kind="unreachable", status=self.status)
        if 300 <= self.status < 400:
            raise AcmeError(f"the CA redirects: status {self.status}", kind="malformedAnswer", status=self.status)
        found = requests.Response()
        found.status_code = self.status
        found.headers.update(answer.headers.items())
        found.raw = io.BytesIO(body)
        found.encoding = "utf-8"
        found.url = url
        return found


class Calls:
    """Calls of blocking functions that use one `Network`, one at a time."""

    def __init__(self, network: Network, limits: Limits) -> None:
        self._network = network
        self._limits = limits

    def __repr__(self) -> str:
        return f"<Calls {self._network}>"

    @property
    def retry_after_s(self) -> float | None:
        """The Retry-After of the latest answer."""
        return self._network.retry_after_s

    async def run(self, what: str, function: Callable[..., T], *args: Any) -> T:
        """Return the result of `function` in a thread.

        `what`, for the message: what the CA was asked to do. At a cancellation, or when `limits.request_s` has passed,
        the thread gets an error, and nobody waits for it. Raises: AcmeError.
        """
        try:
            async with asyncio.timeout(self._limits.request_s):
                return await run_in_thread(partial(function, *args), self._network.abort)
        except AcmeError as error:
            error.args = (f"{what}: {error}",)
            raise
        except messages.Error as error:
            failure = self.failure(what, error)
        except TimeoutError:
            failure = AcmeError(f"{what}: no answer of the CA within {self._limits.request_s:g} s", kind="unreachable")
        except ssl.SSLCertVerificationError as error:
            failure = AcmeError(f"{what}: {_untrusted(error)}", kind="unreachable")
        except OSError as error:
            failure = AcmeError(f"{what}: the CA cannot be reached: {reason_of(error)}", kind="unreachable")
        except _MALFORMED as error:
            failure = self._malformed(what, error)
        raise failure  # not above: it would carry the exception of the library, with whatever is in that

    def failure(self, what: str, error: messages.Error | None) -> AcmeError:
        """Return the exception for a problem document, or for a failure without one."""
        error = error or messages.Error.from_json({"detail": "no reason given"})
        names = tuple(
            NameProblem(plain(one.identifier.value, 260), kind_of(one.typ), plain(one.detail))
            for one in (error.subproblems or ())[:MAX_NAMES]
            if one.identifier is not None
        )
        kind, detail = kind_of(error.typ), plain(error.detail)
        message = f"{what}: the CA refuses: {'; '.join([f'{clip(detail, 300)} ({kind})', *map(str, names)])}"
        network = self._network
        return AcmeError(
            message,
            kind=kind,
            detail=detail,
            names=names,
            status=network.status,
            retry_after_s=network.retry_after_s,
        )

    def _malformed(self, what: str, error: Exception) -> AcmeError:
        """Return the exception for an answer that is none of the protocol. Its text is left out: it may be anything."""
        status, kind = self._network.status, "malformedAnswer"
        message = f"{what}: the CA's answer with status {status} cannot be understood ({type(error).__name__})"
        if status >= 400:
            kind, message = "httpError", f"{what}: the CA answers with status {status} and gives no reason"
        return AcmeError(message, kind=kind, status=status, retry_after_s=self._network.retry_after_s)


def _untrusted(error: ssl.SSLCertVerificationError) -> str:
    """Return what is wrong with the CA's own certificate, and which key of the config decides, if one does."""
    told = f"the CA's own https certificate is not valid: {error.verify_message}"
    if error.verify_code in _NO_ISSUER:
        told += "; 'ca' must be a file with the authority that signed it, if that is not one of the system's"
    return told


async def run_in_thread(work: Callable[[], T], abort: Callable[[], object]) -> T:
    """Return what `work` returns in a thread of its own. `abort` makes it end; called if nobody waits for it any more.

    Unlike those of an executor, the thread is waited for by nobody, also not at the interpreter's exit.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(set_outcome: Callable[[Any], None], outcome: Any) -> None:
        if not done.done():
            set_outcome(outcome)

    def run() -> None:
        try:
            report = partial(settle, done.set_result, work())
        except BaseException as error:  # it is the caller's, whatever it is
            report = partial(settle, done.set_exception, error)
        try:
            loop.call_soon_threadsafe(report)
        except RuntimeError:
            pass  # the loop is closed

    threading.Thread(target=run, name="npserver-acme", daemon=True).start()
    try:
        return await done
    except asyncio.CancelledError:
        abort()
        raise
