"""`npserver cert -root`: print the root of the local authority, and how each system is told to trust it."""

from __future__ import annotations

import sys

from npserver.errors import NpserverError, clip
from npserver.store.files import StoreFiles

NICKNAME = "npserver local authority"
TRUST = """\
trust it on   put the root into a file first:  npserver cert -root > npserver-root.crt

Debian, Ubuntu   sudo cp npserver-root.crt /usr/local/share/ca-certificates/ && sudo update-ca-certificates
Fedora, RHEL     sudo cp npserver-root.crt /etc/pki/ca-trust/source/anchors/ && sudo update-ca-trust
macOS            sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain npserver-root.crt
Windows          certutil -addstore -f Root npserver-root.crt          (as administrator)
Chromium, Linux  certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n "{nickname}" -i npserver-root.crt
Firefox          certutil -d sql:PROFILE -A -t C,, -n "{nickname}" -i npserver-root.crt
                 (PROFILE: about:support, "Profile Directory")
                 certutil is in libnss3-tools on Debian, in nss-tools on Fedora
curl, once       curl --cacert npserver-root.crt https://...
"""


def main(words: list[str], usage: str) -> int:
    """Print the roots in the store that `words` name. Return the exit status."""
    try:
        directory = _directory(words)
    except LookupError:
        print(usage, end="", file=sys.stderr)
        return 2
    try:
        roots = _read_roots(StoreFiles(directory))
    except NpserverError as error:
        print(f"npserver cert: {error}", file=sys.stderr)
        return 1
    if not roots:
        print(
            f"npserver cert: no root in {directory}: it is made at the first start of a config with local names or "
            '"tls": "internal"; -config FILE or -store DIR name another store',
            file=sys.stderr,
        )
        return 1
    for kind, certificate in roots:
        print(certificate.decode(), end="", flush=True)
        print(f"this is the root for {kind}, of the store in {directory}", file=sys.stderr)
    print(TRUST.format(nickname=NICKNAME), end="", file=sys.stderr)
    return 0


def _directory(words: list[str]) -> str:
    """Return the directory of the store. Raises: LookupError for words that are not valid; ConfigError."""
    from npserver.config.document import COMMAND_LINE, Document
    from npserver.config.load import load
    from npserver.config.schema import Config
    from npserver.store.compile import store_directory

    match words:
        case []:
            return store_directory(Document(Config(), COMMAND_LINE))
        case ["-config" | "--config", file]:
            return store_directory(load(file))
        case ["-store" | "--store", directory]:
            return store_directory(Document(Config(store=directory), COMMAND_LINE))
    raise LookupError(clip(" ".join(words)))


def _read_roots(files: StoreFiles) -> list[tuple[str, bytes]]:
    """Return the certificate of each root, with the names that it may sign. Raises: StoreError, AuthorityError."""
    from npserver.tls.local_authority import LOCAL_ROOT, OTHER_ROOT, certificate_of, damaged
    from npserver.tls.x509 import CertificateError

    found = []
    for key, kind in ((LOCAL_ROOT, "local names"), (OTHER_ROOT, "all other names")):
        value = files.read(key)
        if value is not None:
            try:
                found.append((kind, certificate_of(value)))
            except CertificateError as error:
                raise damaged(files.path(key), str(error)) from error
    return found
