"""Work that needs the master's privileges, done for children that run as another user.

With `user` in the config, the children cannot read private keys or create log files in protected directories. The
master therefore sends them renewed certificates and keys, and creates a missing access log for their user.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from npserver.observe.config import log_files

if TYPE_CHECKING:
    from npserver.config.document import Document
    from npserver.process.limits import Identity
    from npserver.process.message_channel import Message
    from npserver.tls.store import CertificateStore

PERIOD_S = 2.0  # between two checks of the certificate files


class PrivilegedSteps:
    """Does the privileged steps for children that run as `identity`."""

    __slots__ = ("_certificates", "_identity")

    def __init__(self, identity: Identity, certificates: CertificateStore) -> None:
        self._identity = identity
        self._certificates = certificates

    def __repr__(self) -> str:
        return f"<PrivilegedSteps for {self._identity.user} {self._certificates.files!r}>"

    def certificate_files(self) -> Message:
        """Return the message that gives a child the contents of all certificate and key files."""
        return {"kind": "files", "files": self._certificates.files.contents()}

    def check_certificates(self) -> list[Message]:
        """Look for changed certificate files. Return the messages that make the children load them.

        Those of the store, which the children's user owns, the controller sees itself.
        """
        files = self._certificates.files
        changed = [one for one in self._certificates.refresh() if not files.is_in_store(one.settings.cert)]
        if not changed:
            return []
        from npserver.tls import watch as tls_watch

        for one in changed:
            tls_watch.announce(one)
        paths = [one.settings.cert for one in changed]
        return [self.certificate_files(), {"kind": "published", "topic": tls_watch.TOPIC, "value": paths}]

    def create_log(self, document: Document) -> None:
        """Create the access logs and the query log for the children's user if they do not exist.

        An existing file keeps its owner, and links are not followed: whoever can write to the directory must not be
        able to have the master give files away.
        """
        for name in log_files(document.config.logging):
            self._create(os.path.join(document.directory, name))

    def _create(self, path: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with contextlib.suppress(OSError):  # a child that cannot open the log reports it
            descriptor = os.open(path, flags, 0o640)
            try:
                os.fchown(descriptor, self._identity.user, self._identity.group)
            finally:
                os.close(descriptor)
