"""What the master does for children that have given up its privileges: reads private keys, creates log files.

Needed where the config's `user` is not the one the program was started as. The children could else not take over a
renewed certificate, nor go on in a new log file.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from npserver.tls import watch as tls_watch

if TYPE_CHECKING:
    from npserver.config.document import Document
    from npserver.process.limits import Identity
    from npserver.process.message_channel import Message
    from npserver.tls.certificates import CertificateStore

PERIOD_S = tls_watch.PERIOD_S  # how often the certificates' files are looked at


class PrivilegedSteps:
    """The master's help for its children."""

    __slots__ = ("_certificates", "_identity")

    def __init__(self, identity: Identity, certificates: CertificateStore) -> None:
        self._identity = identity
        self._certificates = certificates

    def __repr__(self) -> str:
        return f"<PrivilegedSteps to {self._identity.user} {self._certificates.files!r}>"

    def supplies(self) -> Message:
        """The message that gives a child the contents of all certificates and keys."""
        return {"kind": "files", "files": self._certificates.files.contents()}

    def look(self) -> list[Message]:
        """Look for renewed certificates. Gives the messages that make children take them over."""
        changed = self._certificates.refresh()
        for identity in changed:
            tls_watch.announce(identity)
        if not changed:
            return []
        paths = [identity.settings.cert for identity in changed]
        return [self.supplies(), {"kind": "news", "topic": tls_watch.TOPIC, "value": paths}]

    def create_log(self, document: Document) -> None:
        """Create the access log, if there is none, for the children's user.

        A file that exists keeps its owner, and no link is followed: whoever can write to the directory must not make
        the master give files away.
        """
        name = document.config.logging.access_log
        if name in ("stdout", "stderr", "off"):
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with contextlib.suppress(OSError):  # reported by those who cannot open it then
            descriptor = os.open(os.path.join(document.directory, name), flags, 0o640)
            try:
                os.fchown(descriptor, self._identity.user, self._identity.group)
            finally:
                os.close(descriptor)
